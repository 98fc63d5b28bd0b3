"use strict";
// Curves of the last minutes, as SVG: one figure for each thing, with its newest value in
// words beside it, so that nothing is told by the curve alone.

const svgSpace = "http://www.w3.org/2000/svg";
const curveWidth = 300, curveHeight = 40;

// A curve draws one or two series of numbers on one scale that starts at zero.
class Curve {
  constructor(title, classes) {
    this.figure = document.createElement("figure");
    this.figure.className = "curve";
    const caption = document.createElement("figcaption");
    this.title = document.createElement("span");
    this.title.textContent = title;
    this.value = document.createElement("span");
    caption.append(this.title, this.value);
    this.svg = document.createElementNS(svgSpace, "svg");
    this.svg.setAttribute("viewBox", `0 0 ${curveWidth} ${curveHeight}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    const axis = document.createElementNS(svgSpace, "line");
    for (const [k, v] of [["x1", 0], ["x2", curveWidth], ["y1", curveHeight - .5], ["y2", curveHeight - .5]]) axis.setAttribute(k, v);
    axis.setAttribute("class", "axis");
    this.svg.append(axis);
    this.lines = classes.map(c => {
      const line = document.createElementNS(svgSpace, "polyline");
      line.setAttribute("class", c);
      this.svg.append(line);
      return line;
    });
    this.figure.append(caption, this.svg);
  }

  // draw takes a list of series, each as long as `most` at most, the newest last.
  draw(series, most, format, least) {
    const top = Math.max(least, ...series.flat());
    series.forEach((values, i) => {
      const step = curveWidth / (most - 1), first = most - values.length;
      this.lines[i].setAttribute("points", values.map((v, x) =>
        `${((first + x) * step).toFixed(1)},${(curveHeight - 1 - (curveHeight - 3) * Math.max(v, 0) / top).toFixed(1)}`).join(" "));
    });
    const now = series.map(s => format(s.length ? s[s.length - 1] : 0));
    this.value.textContent = `${now.join(" / ")} (most ${format(top)})`;
    this.svg.setAttribute("aria-label", `${this.title.textContent}: now ${now.join(" and ")}, at most ${format(top)} in the last ${Math.ceil(most / 60)} minutes`);
  }
}
