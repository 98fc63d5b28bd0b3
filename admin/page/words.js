"use strict";
// Elements and words of the page. Go's package status has the same words, for the terminal.

const $ = id => document.getElementById(id);

function el(name, props = {}, ...children) {
  const e = Object.assign(document.createElement(name), props);
  e.append(...children);
  return e;
}

function put(e, text) { if (e.textContent !== text) e.textContent = text; }

const short = f => f < 9.95 ? f.toFixed(1) : f.toFixed(0);
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
const millis = s => !(s > 0) ? "–" : s < .00005 ? "<0.1 ms" : `${short(s * 1e3)} ms`;
const percent = f => !(f > 0) ? "0 %" : f < .001 ? "<0.1 %" : `${f < .1 ? (f * 100).toFixed(1) : (f * 100).toFixed(0)} %`;
function span(seconds) {
  if (seconds < 120) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} days`;
}
const since = (t, now) => span((now - new Date(t)) / 1000);
const clock = t => new Date(t).toTimeString().slice(0, 8);
const day = t => new Date(t).toLocaleDateString("en-GB", { day: "numeric", month: "short" });
// isolated keeps a name that is written from right to left from turning round what is beside it.
const isolated = n => /[^\0-\u058f]/.test(n) ? `\u2068${n}\u2069` : n;
const listed = names => names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;

// carries says whether a path works, needed or not, or has only stopped for a moment.
const carries = p => ["up", "resting", "stalled"].includes(p.state);

// words say for how long a path is as its badge says, and why; whole says the state too.
function words(p, now, whole) {
  const timed = ["dead", "absent", "stalled", "joining"].includes(p.state) ? `for ${since(p.since, now)}` : "";
  const head = [whole ? p.state : "", timed].filter(Boolean).join(" ");
  return [head, p.cause].filter(Boolean).join(": ");
}

function who(p) {
  if (p.client && !p.program) return p.client;
  if (p.program && p.user && p.user !== p.program) return `${p.program} (${p.user})`;
  return p.program || p.user || p.app || "(has ended)";
}

// over says by which paths a program's traffic goes: where the two directions differ, each.
function over(p, client) {
  const out = p.paths || [], back = p.received_paths || [];
  const same = out.length === back.length && out.every(x => back.includes(x));
  const [away, home] = client ? ["↑", "↓"] : ["to it", "from it"];
  if (!back.length || same) return out.length ? `over ${out.map(isolated).join(" + ")}` : "idle";
  return `${home} over ${back.map(isolated).join(" + ")}` + (out.length ? `, ${away} ${out.map(isolated).join(" + ")}` : "");
}

function pathKey(s, p) { return s.peer ? `${s.peer} ${s.id} ${p.name}` : p.name; }
