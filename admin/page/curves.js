"use strict";
// Curves of the last minutes, as SVG: one figure for each thing, with its most in words
// beside it, so that nothing is told by the curve alone.

const svgSpace = "http://www.w3.org/2000/svg";
const curveWidth = 300, curveHeight = 40;

// A curve draws one or two series of numbers on one scale that starts at zero. A series has
// a name, where there are two, and a colour.
class Curve {
  constructor(title, series) {
    this.title = title;
    this.names = series.map(([name]) => name);
    const caption = el("figcaption");
    const head = el("span", { textContent: title });
    for (const [name, colour] of series) if (name) head.append(" ", el("span", { className: `t-${colour}`, textContent: name.toLowerCase() }));
    this.value = el("span");
    caption.append(head, this.value);
    this.svg = document.createElementNS(svgSpace, "svg");
    this.svg.setAttribute("viewBox", `0 0 ${curveWidth} ${curveHeight}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    const axis = document.createElementNS(svgSpace, "line");
    for (const [k, v] of [["x1", 0], ["x2", curveWidth], ["y1", curveHeight - .5], ["y2", curveHeight - .5]]) axis.setAttribute(k, v);
    axis.setAttribute("class", "axis");
    this.svg.append(axis);
    this.lines = series.map(([, colour]) => {
      const line = document.createElementNS(svgSpace, "polyline");
      line.setAttribute("class", `c-${colour}`);
      this.svg.append(line);
      return line;
    });
    this.figure = el("figure", { className: "curve" }, caption, this.svg);
  }

  // draw takes a list of series, each as long as `most` at most, the newest last.
  draw(series, most, format, least) {
    const peak = Math.max(0, ...series.flat()), top = Math.max(least, peak);
    series.forEach((values, i) => {
      const step = curveWidth / (most - 1), first = most - values.length;
      this.lines[i].setAttribute("points", values.map((v, x) =>
        `${((first + x) * step).toFixed(1)},${(curveHeight - 1 - (curveHeight - 3) * Math.max(v, 0) / top).toFixed(1)}`).join(" "));
    });
    const minutes = Math.ceil(most / 60);
    put(this.value, `at most ${format(peak)} in ${minutes} min`);
    const now = series.map((s, i) => [this.names[i].toLowerCase(), format(s.length ? s[s.length - 1] : 0)].filter(Boolean).join(" "));
    this.svg.setAttribute("aria-label", `${this.title}: now ${now.join(" and ")}, at most ${format(peak)} in the last ${minutes} minutes`);
  }
}
