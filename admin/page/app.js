"use strict";
// The page of a half: one model comes once a second, and everything here shows it.
// Texts go in as texts, never as HTML: names of programs and destinations are others'.

const historyMost = 300;
const rowsMost = 12;       // programs that are shown before somebody asks for all
const history = new Map(); // path -> points, the newest last
const cards = new Map();   // path -> its card
const groups = new Map();  // session -> where its cards are
const rows = new Map();    // flow -> its row
// A cookie goes to other users' programs at other ports of this address, too, and opens nothing
// without this, which a browser shows to nobody else. It came with the page's link.
if (location.hash) {
  localStorage.setItem("page", location.hash.slice(1));
  window.history.replaceState(null, "", "/");
}
const page = localStorage.getItem("page") || "";
let model = null, all = false, lost = 0, told = null, heard = new Date();

// ask shows what would be done, and does it on Yes.
function ask(text, what, body) {
  const d = $("ask");
  put($("ask-text"), text);
  d.returnValue = "no";
  d.onclose = async () => {
    if (d.returnValue !== "yes") return showLevel(model);
    try {
      const r = await fetch(`actions/${what}`, { method: "POST", headers: { "Content-Type": "application/json", "Mpsocks-Page": page }, body: JSON.stringify(body) });
      say(r.ok ? "" : (await r.json()).error);
      if (!r.ok) showLevel(model);
    } catch (e) {
      say(`It did not work: ${e.message}`);
      showLevel(model);
    }
  };
  d.showModal();
}

// showLevel has the list of log levels say the one that holds, also where another one was chosen and not set.
function showLevel(s) { if (s.log_level) $("level").value = s.log_level; }

// say shows what went wrong, for long enough to read it.
function say(text) {
  put($("said"), text);
  clearTimeout(say.timer);
  if (text) say.timer = setTimeout(() => put($("said"), ""), 10000);
}

function button(text, press) {
  const b = el("button", { type: "button", textContent: text });
  b.addEventListener("click", press);
  return b;
}

function figures(names, into) {
  const list = el("dl", { className: "figures" });
  for (const f of names) {
    const dd = el("dd");
    into.set(f, dd);
    list.append(el("div", {}, el("dt", { textContent: f }), dd));
  }
  return list;
}

const wide = matchMedia("(min-width: 701px)");

// A card is one path: its state in words, figures, curves and buttons.
function makeCard(key, name, client, few) {
  const c = { name, badge: el("span", { className: "badge" }), words: el("p", { className: "words" }), help: el("p", { className: "help", hidden: true }), figures: new Map() };
  const [up, down] = client ? ["Up", "Down"] : ["To it", "From it"];
  c.names = { up, down };
  const list = figures([up, down, "Share", "Round trip", "Jitter", "Loss"], c.figures);
  const more = figures(client ? ["Today", "This month", "Queue"] : ["Queue"], c.figures);
  c.left = el("p", { className: "left" });
  c.meter = el("meter", { className: "usage", min: 0, max: 1, high: .9, optimum: 0, hidden: true });
  c.rates = new Curve("Rate", [[up, "up"], [down, "down"]]);
  c.rtt = new Curve("Round trip", [["", "rtt"]]);
  c.loss = new Curve("Loss", [["", "loss"]]);
  c.more = el("details", { open: wide.matches && few }, el("summary", { textContent: "Curves and more" }), more, c.rates.figure, c.rtt.figure, c.loss.figure);
  c.card = el("article", { className: "card" }, el("header", {}, el("h3", { textContent: name }), c.badge), c.words, c.help, list, c.left, c.meter, c.more);
  c.card.setAttribute("aria-label", `Path ${key}`);
  c.more.firstChild.setAttribute("aria-label", `Curves and more of ${key}`);
  if (client) {
    const act = (text, press) => {
      const b = button(text, press);
      b.setAttribute("aria-label", `${text} ${name}`);
      return b;
    };
    c.pause = act("Pause", () => ask(c.paused ? `Take ${name} back into use?` : `Pause ${name}? What it carries moves to the other paths.`, "pause", { path: name, on: !c.paused }));
    c.backup = act("Backup", () => ask(c.isBackup ? `Use ${name} as any other path?` : `Make ${name} a backup? It then carries only when no other path works.`, "backup", { path: name, on: !c.isBackup }));
    c.metered = act("Metered", () => ask(c.isMetered ? `Use ${name} without regard to its bytes?` : `Make ${name} metered? It then carries only what no better path can.`, "metered", { path: name, on: !c.isMetered }));
    c.more.append(el("p", { className: "buttons" }, c.pause, c.backup, c.metered));
  }
  return c;
}

// group is where a session's cards are: folded together where there are many sessions.
function group(s, sess, client) {
  const key = client ? "" : `${sess.peer} ${sess.id}`;
  let g = groups.get(key);
  if (!g) {
    g = { cards: el("div", { className: "cards" }) };
    if (client) g.whole = g.cards;
    else {
      g.title = el("span", { className: "who", textContent: sess.peer || "" });
      g.words = el("span", { className: "words" });
      g.whole = el("details", { className: "group", open: (s.sessions || []).length < 3 }, el("summary", {}, g.title, " ", g.words), g.cards);
    }
    groups.set(key, g);
    document.querySelector("#paths .groups").append(g.whole);
  }
  if (g.words) {
    const up = sess.paths.filter(carries).length, sum = f => sess.paths.reduce((n, p) => n + p[f], 0);
    put(g.words, `session ${sess.id} · ${up === sess.paths.length ? (up === 1 ? "1 path" : `${up} paths`) : `${up} of ${sess.paths.length} paths`} · to it ${rate(sum("up_bps"))}, from it ${rate(sum("down_bps"))}`);
  }
  return [key, g];
}

function showPath(key, place, sess, p, now, client) {
  let c = cards.get(key);
  if (!c) {
    cards.set(key, c = makeCard(key, p.name, client, sess.paths.length < 5));
    place.append(c.card);
  }
  c.paused = p.paused; c.isBackup = p.backup; c.isMetered = p.metered;
  c.badge.className = `badge ${p.state}`;
  put(c.badge, p.state);
  const role = p.state === "resting" ? "" : [p.backup && "backup", p.metered && "metered"].filter(Boolean).join(", ");
  put(c.words, [words(p, now), role, p.bind && p.bind !== p.name ? `on ${p.bind}` : ""].filter(Boolean).join(" · ") || "works");
  put(c.help, p.remedy || "");
  c.help.hidden = !p.remedy;
  const u = p.usage || {};
  for (const [k, v] of Object.entries({
    [c.names.up]: rate(p.up_bps), [c.names.down]: rate(p.down_bps), "Share": percent(p.share), "Round trip": millis(p.rtt_seconds), "Jitter": millis(p.jitter_seconds),
    "Loss": percent(p.loss), "Today": p.usage ? bytes(u.today_bytes) : "–", "This month": p.usage ? bytes(u.month_bytes) : "–", "Queue": bytes(p.queued_bytes),
  })) if (c.figures.has(k)) put(c.figures.get(k), v);
  const caps = [[u.daily_cap_bytes, u.today_bytes, "today"], [u.monthly_cap_bytes, u.month_bytes, u.month_ends ? `until ${day(u.month_ends)}` : "this month"]].filter(x => x[0]);
  put(c.left, caps.map(([cap, used, when]) => `${bytes(Math.max(0, cap - used))} left ${when} (${bytes(used)} of ${bytes(cap)} used)`).join("; "));
  c.meter.hidden = !caps.length;
  if (caps.length) {
    c.meter.value = Math.max(...caps.map(([cap, used]) => used / cap));
    c.meter.setAttribute("aria-label", `Cap of ${key}: ${c.left.textContent}`);
  }
  if (client) {
    put(c.pause, p.paused ? "Resume" : "Pause");
    c.pause.setAttribute("aria-label", `${c.pause.textContent} ${p.name}`);
    c.backup.setAttribute("aria-pressed", p.backup);
    c.metered.setAttribute("aria-pressed", p.metered);
  }
  if (!c.more.open) return;
  const h = history.get(key) || [];
  c.rates.draw([h.map(x => x.up_bps), h.map(x => x.down_bps)], historyMost, rate, 1000);
  c.rtt.draw([h.map(x => x.rtt_seconds)], historyMost, millis, .001);
  c.loss.draw([h.map(x => x.loss)], historyMost, percent, .01);
}

const classes = ["latency", "bulk", "ordered", "metered", "backup"];

function showProgram(p, list, place) {
  const key = `${p.session} ${p.key}`;
  let r = rows.get(key);
  if (!r) {
    r = { who: el("span", { className: "who" }), to: el("span", { className: "to" }), cls: el("span", { className: "class" }), rate: el("span", { className: "rate" }), paths: el("span", { className: "on" }), why: el("span", { className: "why" }), act: el("span", { className: "act" }) };
    const change = el("select");
    change.append(el("option", { value: "", textContent: "class…" }), ...classes.map(c => el("option", { textContent: c })), el("option", { value: "-", textContent: "by itself" }));
    change.addEventListener("change", () => {
      const v = change.value;
      change.value = "";
      ask(v === "-" ? `Let the traffic to ${r.p.to} find its class by itself?` : `Treat the traffic to ${r.p.to} as ${v}?`, "class", { to: r.p.to, class: v === "-" ? "" : v });
    });
    r.change = change;
    r.row = el("li", {}, r.who, r.to, r.cls, r.rate, r.paths, r.act, r.why);
    rows.set(key, r);
  }
  r.p = p;
  const client = model.half === "client";
  put(r.who, who(p)); put(r.to, `${p.proto} ${p.to}`); put(r.cls, p.class);
  put(r.rate, client ? (p.received_bps || p.received_bytes ? `↓ ${rate(p.received_bps)} ↑ ${rate(p.bps)}` : `↑ ${rate(p.bps)}`) : `to it ${rate(p.bps)}` + (p.received_bps ? `, from it ${rate(p.received_bps)}` : ""));
  put(r.paths, over(p, client));
  put(r.why, p.why + (p.copies ? ` · ${p.copies} copies` : "") + (p.dropped ? ` · ${p.dropped} dropped` : "") + ` · ${bytes(p.bytes)} sent` + (p.received_bytes ? `, ${bytes(p.received_bytes)} received` : ""));
  if (client && p.proto === "udp" && !r.act.firstChild) {
    r.change.setAttribute("aria-label", `Class of the traffic to ${p.to}`);
    r.act.append(r.change);
  }
  if (list.children[place] !== r.row) {
    const held = r.row.contains(document.activeElement) ? document.activeElement : null;
    list.insertBefore(r.row, list.children[place] || null);
    if (held) held.focus(); // a row that moves loses it
  }
  return key;
}

function showPrograms(s) {
  const list = document.querySelector("#programs .rows");
  const shown = all ? s.programs : s.programs.slice(0, rowsMost);
  const seen = new Set(shown.map((p, i) => showProgram(p, list, i)));
  for (const [key, r] of rows) if (!seen.has(key)) { r.row.remove(); rows.delete(key); }
  document.querySelector("#programs .empty").hidden = seen.size > 0;
  $("more").hidden = s.programs.length <= rowsMost;
  put($("more"), all ? `The ${rowsMost} fastest only` : `Show all ${s.programs.length}`);
  $("more").setAttribute("aria-expanded", all);
}

const clientColumns = ["Client", "Sessions", "To it", "From it", "Sent", "Received", "Quota", "Last error"];

function showClients(s) {
  $("clients").hidden = s.half !== "server";
  const part = (kind, props, text) => {
    const e = el(kind, { ...props, textContent: text });
    e.setAttribute("role", props.scope === "col" ? "columnheader" : props.scope ? "rowheader" : "cell");
    return e;
  };
  const table = document.querySelector("#clients table"), list = s.clients || [];
  table.hidden = !list.length;
  document.querySelector("#clients .empty").hidden = list.length > 0;
  table.tHead.rows[0].replaceChildren(...clientColumns.map(c => part("th", { scope: "col" }, c)));
  table.tBodies[0].replaceChildren(...list.map(c => {
    const row = el("tr", {}, ...[
      c.name, c.sessions, rate(c.sent_bps), rate(c.received_bps), bytes(c.sent_bytes), bytes(c.received_bytes),
      c.quota_bytes ? `${bytes(c.used_bytes)} of ${bytes(c.quota_bytes)}` : "none",
      c.error ? (c.error_at ? clock(c.error_at) + " " : "") + c.error : "–",
    ].map((v, i) => {
      const cell = i ? part("td", {}, v) : part("th", { scope: "row" }, v);
      cell.dataset.label = clientColumns[i];
      return cell;
    }));
    row.setAttribute("role", "row");
    return row;
  }));
}

function showEvents(s) {
  const list = document.querySelector("#events ol"), newest = s.events[0] ? s.events[0].time : "";
  const key = s.events.length + newest;
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  const text = e => (e.client ? `${isolated(e.client)}: ` : "") + e.text;
  list.replaceChildren(...(s.events.length ? s.events.map(e => el("li", {}, el("time", { dateTime: e.time, textContent: clock(e.time) }), el("span", { className: e.level, textContent: text(e) })))
    : [el("li", { className: "none", textContent: "Nothing happened." })]));
  // Who listens to the page hears what is new, and not what was there before.
  if (told !== null) put($("news"), s.events.filter(e => e.time > told).map(text).reverse().join(". "));
  told = newest || told || "";
}

// showSummary is the answer to "does it work, and over what?" in one line.
function showSummary(s) {
  const paths = s.session && s.session.up ? s.session.paths : [], now = new Date(s.time);
  const busy = paths.filter(p => carries(p) && p.up_bps + p.down_bps > 0), sum = f => paths.reduce((n, p) => n + p[f], 0);
  const parts = [];
  if (s.half === "client" && paths.length) {
    parts.push(`↓ ${rate(sum("down_bps"))} ↑ ${rate(sum("up_bps"))}` + (busy.length ? ` over ${listed(busy.map(p => isolated(p.name)))}` : ""));
    const few = paths.length - busy.length < 4;
    for (const p of paths) {
      const u = p.usage || {}, left = u.monthly_cap_bytes ? `${bytes(Math.max(0, u.monthly_cap_bytes - u.month_bytes))} left` : "";
      if (!busy.includes(p) && few) parts.push(`${isolated(p.name)} ${words(p, now, true)}${left && `, ${left}`}`);
      else if (left) parts.push(`${isolated(p.name)} ${left}`);
    }
    const states = new Map();
    for (const p of paths) if (!busy.includes(p)) states.set(p.state, (states.get(p.state) || 0) + 1);
    if (!few) parts.push([...states].map(([state, n]) => `${n} ${state}`).join(", "));
  }
  if (s.half === "server") {
    const here = (s.clients || []).filter(c => c.sessions).length, total = f => (s.clients || []).reduce((n, c) => n + c[f], 0);
    parts.push(`${here} of ${(s.clients || []).length} clients here`, `to them ${rate(total("sent_bps"))}, from them ${rate(total("received_bps"))}`);
  }
  put($("summary"), parts.join(" · "));
}

function showNumbers(s) {
  const client = s.half === "client";
  const numbers = client ? { "Associations": s.associations, "CONNECTs": s.streams, "Names remembered": s.names } : { "Mappings": s.mappings, "CONNECTs": s.streams, "In their handshake": s.pending };
  numbers["Datagrams up"] = s.datagrams_up;
  numbers["Datagrams down"] = s.datagrams_down;
  for (const [k, v] of Object.entries(s.drops || {})) if (v) numbers[`Dropped: ${k}`] = v;
  for (const [k, v] of Object.entries(s.refused || {})) if (v) numbers[`Refused: ${k}`] = v;
  for (const [k, v] of Object.entries(s.connects || {})) if (v) numbers[`CONNECTs ${k}`] = v;
  document.querySelector("#numbers dl").replaceChildren(...Object.entries(numbers).map(([k, v]) => el("div", {}, el("dt", { textContent: k }), el("dd", { textContent: v.toLocaleString() }))));
}

function show(s) {
  model = s;
  const now = new Date(s.time), client = s.half === "client", session = s.session;
  document.title = `${s.ready ? "" : "(!) "}mpsocks ${s.half}`;
  put($("half"), s.half);
  const badge = document.querySelector("#ready .badge");
  badge.className = `badge ${s.ready ? "ready" : "not"}`;
  put(badge, s.ready ? "ready" : "not ready");
  put($("ready-text"), s.ready ? "" : (s.reasons || []).join("; "));
  put($("warnings"), (s.warnings || []).join(" · "));
  $("warnings").hidden = !(s.warnings || []).length;
  put($("about"), `Version ${s.version}, running for ${since(s.started, now)}` +
    (session && session.up ? `, session ${session.id} with ${session.server}, mode ${session.mode}` : "") + (s.listen.length ? `. Listening on ${s.listen.join(", ")}.` : "."));
  showSummary(s);
  showClients(s);

  const there = new Set(), kept = new Set();
  for (const sess of session ? [session] : s.sessions || []) {
    const [key, g] = group(s, sess, client);
    kept.add(key);
    for (const p of sess.paths) {
      there.add(pathKey(sess, p));
      showPath(pathKey(sess, p), g.cards, sess, p, now, client);
    }
  }
  for (const [key, c] of cards) if (!there.has(key)) { c.card.remove(); cards.delete(key); history.delete(key); }
  for (const [key, g] of groups) if (!kept.has(key)) { g.whole.remove(); groups.delete(key); }
  document.querySelector("#paths .empty").hidden = there.size > 0;

  showPrograms(s);
  $("published").hidden = !(s.published || []).length;
  document.querySelector("#published .rows").replaceChildren(...(s.published || []).map(p => el("li", {},
    el("span", { className: "who", textContent: `${p.proto} ${p.listen}` }), el("span", { className: "to", textContent: `to ${p.to}` }), el("span", { className: "why", textContent: p.problem || "open" }))));
  showEvents(s);

  const capture = $("capture"), on = Boolean(s.capturing);
  capture.setAttribute("aria-pressed", on);
  put(capture, on ? "Stop the capture" : "Start a capture");
  capture.hidden = !s.can_capture && !s.capture;
  $("download").hidden = !s.capture;
  if (document.activeElement !== $("level") && !$("ask").open) showLevel(s);
  showNumbers(s);
}

// note adds the newest point to the curves.
function note(s) {
  for (const sess of s.session ? [s.session] : s.sessions || []) for (const p of sess.paths) {
    const key = pathKey(sess, p), h = history.get(key) || [];
    h.push(p);
    if (h.length > historyMost) h.shift();
    history.set(key, h);
  }
}

// showLost says that what is shown is old, and since when; before the first answer, that none came.
function showLost() {
  const badge = document.querySelector("#ready .badge"), word = model ? "connection lost" : "no answer";
  badge.className = "badge not";
  put(badge, word);
  put($("ready-text"), `the program has not answered since ${clock(heard)} (${since(heard, new Date())})${model ? `; what is shown is of ${clock(model.time)}` : ""}. Trying again.`);
  document.title = `(!) mpsocks: ${word}`;
  document.body.classList.add("lost");
}

$("more").addEventListener("click", () => { all = !all; showPrograms(model); });
$("level").addEventListener("change", () => ask(`Set the log level to ${$("level").value}?`, "log", { level: $("level").value }));
$("capture").addEventListener("click", () => {
  const on = $("capture").getAttribute("aria-pressed") !== "true";
  ask(on ? "Start a capture? It writes everything that passes, unencrypted, to a file that only this program's user can read." : "Stop the capture?", "capture", { on });
});

async function begin() {
  $("download").href = `capture?page=${page}`;
  try {
    const r = await fetch("history", { headers: { "Mpsocks-Page": page } });
    if (r.status === 401) return location.replace("/?token=none"); // which says how to get in
    if (r.ok) for (const s of await r.json()) for (const [key, p] of Object.entries(s.paths)) {
      const h = history.get(key) || [];
      h.push(p);
      history.set(key, h.slice(-historyMost));
    }
  } catch (e) { /* the curves begin now */ }
  const source = new EventSource(`events?page=${page}`);
  source.onmessage = m => {
    const s = JSON.parse(m.data);
    lost = 0;
    heard = new Date();
    document.body.classList.remove("asking", "lost");
    note(s);
    show(s);
  };
  source.onerror = showLost;
  // A half that hangs, or a network that does, closes nothing.
  setInterval(() => { if (++lost > 5) showLost(); }, 1000);
}
begin();
