// Bars and lines as plain SVG, in a box of their own units that stretches to its place.

import { svg } from "./dom.js";

/** A bar from 0 to 1, with a mark where it was expected to end. */
export function bar(share, mark, classes, label) {
  const x = (value) => (Math.min(1, Math.max(0, value)) * 100).toFixed(2);
  const parts = [
    svg("rect", { class: "track", width: 100, height: 8, rx: 0 }),
    svg("rect", { class: "value", width: x(share), height: 8 }),
  ];
  if (mark !== null) parts.push(svg("line", { class: "mark", x1: x(mark), x2: x(mark), y1: 0, y2: 8 }));
  return svg("svg", {
    class: `bar-chart ${classes}`, viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img", "aria-label": label,
  }, ...parts);
}

/** A minute: requests as columns, latency as a line above them. */
export function minute(requests, latency, label) {
  const width = requests.length;
  const most = Math.max(1, ...requests);
  const slowest = Math.max(1, ...latency.filter((it) => it !== null));
  const columns = requests.flatMap((n, at) => {
    const height = (n / most) * 12;
    return n > 0 ? [svg("rect", { class: "column", x: at + 0.1, y: (32 - height).toFixed(2), width: 0.8, height: height.toFixed(2) })] : [];
  });
  // Seconds without an answer have no latency; the line goes on behind them.
  const points = latency.flatMap((ms, at) => (ms === null ? [] : [`${at + 0.5} ${(17 - (ms / slowest) * 15).toFixed(2)}`]));
  const path = points.length > 0 ? `M${points.join("L")}` : "M0 0";
  return svg("svg", {
    class: "minute", viewBox: `0 0 ${width} 32`, preserveAspectRatio: "none", role: "img", "aria-label": label,
  }, ...columns, svg("path", { class: "line", d: path }));
}
