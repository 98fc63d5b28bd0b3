"use strict";
// The page of a half: one model comes once a second, and everything here shows it.
// Texts go in as texts, never as HTML: names of programs and destinations are others'.

const $ = id => document.getElementById(id);
const historyMost = 300;
const history = new Map(); // path -> points, the newest last
const cards = new Map();   // path -> its card
const rows = new Map();    // flow -> its row
let model = null, asked = false;

function el(name, props = {}, ...children) {
  const e = Object.assign(document.createElement(name), props);
  e.append(...children);
  return e;
}

function put(e, text) { if (e.textContent !== text) e.textContent = text; }

// Numbers as people say them; words.go has the same.
const short = f => f < 10 ? f.toFixed(1) : f.toFixed(0);
function rate(bps) {
  if (!(bps > 0)) return "0 bit/s";
  for (const [n, unit] of [[1e9, "Gbit/s"], [1e6, "Mbit/s"], [1e3, "kbit/s"]]) if (bps >= n) return `${short(bps / n)} ${unit}`;
  return `${Math.round(bps)} bit/s`;
}
function bytes(n) {
  let i = 0;
  for (n = n || 0; n >= 1024 && i < 5; i++) n /= 1024;
  return `${i ? short(n) : n} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][i]}`;
}
const millis = s => s > 0 ? `${short(s * 1e3)} ms` : "–";
const percent = f => !(f > 0) ? "0 %" : f < .001 ? "<0.1 %" : `${f < .1 ? (f * 100).toFixed(1) : (f * 100).toFixed(0)} %`;
function span(seconds) {
  if (seconds < 120) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} days`;
}
const since = (t, now) => span((now - new Date(t)) / 1000);

function words(p, now) {
  let out = p.state;
  if (["dead", "absent", "stalled", "joining"].includes(p.state)) out += ` for ${since(p.since, now)}`;
  return p.cause ? `${out}: ${p.cause}` : out;
}

// ask shows what would be done, and does it on Yes.
function ask(text, what, body) {
  const d = $("ask");
  put($("ask-text"), text);
  d.returnValue = "no";
  d.onclose = async () => {
    if (d.returnValue !== "yes") return;
    try {
      const r = await fetch(`actions/${what}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
      put($("said"), r.ok ? "" : (await r.json()).error);
    } catch (e) { put($("said"), `It did not work: ${e.message}`); }
  };
  d.showModal();
}

function button(text, press) {
  const b = el("button", { type: "button", textContent: text });
  b.addEventListener("click", press);
  return b;
}

// A card is one path: its state in words, figures, curves and buttons.
function makeCard(key, name, client) {
  const c = { name, badge: el("span", { className: "badge" }), words: el("p", { className: "words" }), figures: new Map() };
  const list = el("dl", { className: "figures" });
  for (const f of ["Up", "Down", "Share", "Round trip", "Jitter", "Loss", "Today", "This month", "Queue"]) {
    const dd = el("dd");
    c.figures.set(f, dd);
    const label = client ? f : { "Up": "To the client", "Down": "From it" }[f] || f;
    if (client || !["Today", "This month"].includes(f)) list.append(el("div", {}, el("dt", { textContent: label }), dd));
  }
  c.left = el("p", { className: "words" });
  c.meter = el("meter", { className: "usage", min: 0, max: 1, high: .9, optimum: 0, hidden: true });
  c.rates = new Curve(client ? "Rate, up and down" : "Rate, to it and from it", ["c-up", "c-down"]);
  c.rtt = new Curve("Round trip", ["c-rtt"]);
  c.loss = new Curve("Loss", ["c-loss"]);
  c.buttons = el("p", { className: "buttons" });
  c.pause = button("Pause", () => ask(c.paused ? `Take ${name} back into use?` : `Pause ${name}? What it carries moves to the other paths.`, "pause", { path: name, on: !c.paused }));
  c.backup = button("Backup", () => ask(c.isBackup ? `Use ${name} as any other path?` : `Make ${name} a backup? It then carries only when no other path works.`, "backup", { path: name, on: !c.isBackup }));
  c.metered = button("Metered", () => ask(c.isMetered ? `Use ${name} without regard to its bytes?` : `Make ${name} metered? It then carries only what no better path can.`, "metered", { path: name, on: !c.isMetered }));
  c.buttons.append(c.pause, c.backup, c.metered);
  c.card = el("article", { className: "card" }, el("header", {}, el("h3", { textContent: key }), c.badge), c.words, list, c.left, c.meter, c.rates.figure, c.rtt.figure, c.loss.figure);
  c.card.setAttribute("aria-label", `Path ${key}`);
  return c;
}

function showPath(key, p, now, client) {
  let c = cards.get(key);
  if (!c) {
    cards.set(key, c = makeCard(key, p.name, client));
    if (client) c.card.append(c.buttons);
    document.querySelector("#paths .cards").append(c.card);
  }
  c.paused = p.paused; c.isBackup = p.backup; c.isMetered = p.metered;
  c.badge.className = `badge ${p.state}`;
  put(c.badge, p.state);
  const role = p.state === "resting" ? "" : [p.backup && "backup", p.metered && "metered"].filter(Boolean).join(", ");
  put(c.words, words(p, now) + (role ? ` (${role})` : "") + (p.bind ? ` · ${p.bind}` : ""));
  const u = p.usage || {};
  for (const [k, v] of Object.entries({
    "Up": rate(p.up_bps), "Down": rate(p.down_bps), "Share": percent(p.share), "Round trip": millis(p.rtt_seconds), "Jitter": millis(p.jitter_seconds),
    "Loss": percent(p.loss), "Today": p.usage ? bytes(u.today_bytes) : "–", "This month": p.usage ? bytes(u.month_bytes) : "–", "Queue": bytes(p.queued_bytes),
  })) put(c.figures.get(k), v);
  const caps = [[u.daily_cap_bytes, u.today_bytes, "today"], [u.monthly_cap_bytes, u.month_bytes, "this month"]].filter(x => x[0]);
  put(c.left, caps.map(([cap, used, when]) => `${bytes(used)} of ${bytes(cap)} ${when}, ${bytes(Math.max(0, cap - used))} left`).join("; "));
  c.meter.hidden = !caps.length;
  if (caps.length) {
    c.meter.value = Math.max(...caps.map(([cap, used]) => used / cap));
    c.meter.setAttribute("aria-label", `Cap of ${key}: ${c.left.textContent}`);
  }
  put(c.pause, p.paused ? "Resume" : "Pause");
  c.backup.setAttribute("aria-pressed", p.backup);
  c.metered.setAttribute("aria-pressed", p.metered);
  const h = history.get(key) || [];
  c.rates.draw([h.map(x => x.up_bps), h.map(x => x.down_bps)], historyMost, rate, 1000);
  c.rtt.draw([h.map(x => x.rtt_seconds)], historyMost, millis, .001);
  c.loss.draw([h.map(x => x.loss)], historyMost, percent, .01);
}

function who(p) {
  if (p.client && !p.program) return p.client;
  if (p.program && p.user && p.user !== p.program) return `${p.program} (${p.user})`;
  return p.program || p.user || p.app || "(has ended)";
}

const classes = ["latency", "bulk", "ordered", "metered", "backup"];

function showProgram(p, list, place) {
  const key = `${p.session} ${p.key}`;
  let r = rows.get(key);
  if (!r) {
    r = { who: el("span", { className: "who" }), to: el("span", { className: "to" }), cls: el("span"), rate: el("span", { className: "rate" }), paths: el("span"), why: el("span", { className: "why" }), act: el("span") };
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
  put(r.who, who(p)); put(r.to, `${p.proto} ${p.to}`); put(r.cls, p.class); put(r.rate, p.received_bps || p.received_bytes ? `↑ ${rate(p.bps)} ↓ ${rate(p.received_bps)}` : rate(p.bps));
  put(r.paths, (p.paths || []).length ? `over ${p.paths.join(" + ")}` : "idle");
  put(r.why, p.why + (p.copies ? ` · ${p.copies} copies` : "") + (p.dropped ? ` · ${p.dropped} dropped` : "") + ` · ${bytes(p.bytes)} sent` + (p.received_bytes ? `, ${bytes(p.received_bytes)} received` : ""));
  if (model.half === "client" && p.proto === "udp" && !r.act.firstChild) {
    r.change.setAttribute("aria-label", `Class of the traffic to ${p.to}`);
    r.act.append(r.change);
  }
  if (list.children[place] !== r.row) list.insertBefore(r.row, list.children[place] || null);
  return key;
}

function showClients(s) {
  $("clients").hidden = s.half !== "server";
  const body = document.querySelector("#clients tbody");
  body.replaceChildren(...(s.clients || []).map(c => el("tr", {}, ...[
    c.name, c.sessions, rate(c.sent_bps), rate(c.received_bps), bytes(c.sent_bytes), bytes(c.received_bytes),
    c.quota_bytes ? `${bytes(c.used_bytes)} of ${bytes(c.quota_bytes)}` : "none",
    (c.error_at ? new Date(c.error_at).toTimeString().slice(0, 8) + " " : "") + (c.error || ""),
  ].map((v, i) => i ? el("td", { textContent: v }) : el("th", { scope: "row", textContent: v })))));
}

function showEvents(s) {
  const list = document.querySelector("#events ol");
  const key = s.events.length + (s.events[0] ? s.events[0].time : "");
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...(s.events.length ? s.events.map(e => {
    const t = new Date(e.time);
    return el("li", {}, el("time", { dateTime: e.time, textContent: t.toTimeString().slice(0, 8) }), el("span", { className: e.level, textContent: (e.client ? `${e.client}: ` : "") + e.text }));
  }) : [el("li", { textContent: "Nothing happened." })]));
}

function pathKey(s, p) { return s.peer ? `${s.peer} ${s.id} ${p.name}` : p.name; }

function show(s) {
  model = s;
  const now = new Date(s.time), client = s.half === "client";
  document.title = `${s.ready ? "" : "(!) "}mpsocks ${s.half}`;
  put($("half"), s.half);
  const badge = document.querySelector("#ready .badge");
  badge.className = `badge ${s.ready ? "ready" : "not"}`;
  put(badge, s.ready ? "ready" : "not ready");
  put($("ready-text"), s.ready ? "" : (s.reasons || []).join("; "));
  const session = s.session;
  put($("warnings"), (s.warnings || []).join(" · "));
  $("warnings").hidden = !(s.warnings || []).length;
  put($("about"), `Version ${s.version}, running for ${since(s.started, now)}` +
    (session && session.up ? `, session ${session.id} with ${session.server}, mode ${session.mode}` : "") + `. Listening on ${s.listen.join(", ")}.`);
  showClients(s);

  const there = new Set();
  for (const sess of session ? [session] : s.sessions || []) for (const p of sess.paths) {
    const key = pathKey(sess, p);
    there.add(key);
    showPath(key, p, now, client);
  }
  for (const [key, c] of cards) if (!there.has(key)) { c.card.remove(); cards.delete(key); history.delete(key); }
  document.querySelector("#paths .empty").hidden = there.size > 0;

  const list = document.querySelector("#programs .rows");
  const seen = new Set(s.programs.map((p, i) => showProgram(p, list, i)));
  for (const [key, r] of rows) if (!seen.has(key)) { r.row.remove(); rows.delete(key); }
  document.querySelector("#programs .empty").hidden = seen.size > 0;

  $("published").hidden = !(s.published || []).length;
  document.querySelector("#published .rows").replaceChildren(...(s.published || []).map(p => el("li", {},
    el("span", { className: "who", textContent: `${p.proto} ${p.listen}` }), el("span", { className: "to", textContent: `to ${p.to}` }), el("span", { className: "why", textContent: p.problem || "open" }))));

  showEvents(s);
  const capture = $("capture");
  const on = Boolean(s.capturing);
  capture.setAttribute("aria-pressed", on);
  put(capture, on ? "Stop the capture" : "Start a capture");
  capture.hidden = !s.can_capture && !s.capture;
  $("download").hidden = !s.capture;
  const numbers = { "Associations": s.associations, "CONNECTs": s.streams, "Mappings": s.mappings, "In their handshake": s.pending, "Names remembered": s.names, "Datagrams up": s.datagrams_up, "Datagrams down": s.datagrams_down };
  for (const [k, v] of Object.entries(s.drops || {})) if (v) numbers[`Dropped: ${k}`] = v;
  for (const [k, v] of Object.entries(s.refused || {})) if (v) numbers[`Refused: ${k}`] = v;
  for (const [k, v] of Object.entries(s.connects || {})) if (v) numbers[`CONNECTs ${k}`] = v;
  document.querySelector("#numbers dl").replaceChildren(...Object.entries(numbers).map(([k, v]) => el("div", {}, el("dt", { textContent: k }), el("dd", { textContent: v }))));
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

$("level").addEventListener("change", () => {
  const v = $("level").value;
  if (v) ask(`Set the log level to ${v}?`, "log", { level: v });
});
$("capture").addEventListener("click", () => {
  const on = $("capture").getAttribute("aria-pressed") !== "true";
  ask(on ? "Start a capture? It writes everything that passes, unencrypted, to a file that only this program's user can read." : "Stop the capture?", "capture", { on });
});

async function begin() {
  try {
    const r = await fetch("history");
    if (r.ok) for (const s of await r.json()) for (const [key, p] of Object.entries(s.paths)) {
      const h = history.get(key) || [];
      h.push(p);
      history.set(key, h.slice(-historyMost));
    }
  } catch (e) { /* the curves begin now */ }
  const source = new EventSource("events");
  source.onmessage = m => { const s = JSON.parse(m.data); put($("said"), ""); note(s); show(s); };
  source.onerror = () => {
    const badge = document.querySelector("#ready .badge");
    badge.className = "badge not";
    put(badge, "no answer");
    put($("ready-text"), "the program does not answer; trying again");
  };
}
begin();
