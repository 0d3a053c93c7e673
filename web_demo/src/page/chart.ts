// A bar chart of the runs: median time of one inference, one bar for each model and accelerator.

import { ACCELERATOR_NAMES } from "../protocol";
import type { Row } from "./record";

const SVG = "http://www.w3.org/2000/svg";
const [LINE, BAR] = [44, 16]; // heights in CSS pixels

function add(parent: Element, name: string, attributes: Record<string, string | number>, text = ""): Element {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.textContent = text;
  parent.append(element);
  return element;
}

export function number(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** Returns an SVG of a width in CSS pixels with a text alternative; null if no run has a time. */
export function chart(rows: Row[], wide: number): SVGSVGElement | null {
  const timed = rows.filter((row) => row.latency_ms);
  if (!timed.length) return null;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${wide} ${timed.length * LINE}`);
  svg.setAttribute("role", "img");
  const longest = Math.max(...timed.map((row) => row.latency_ms!.p50));
  const lines = timed.map((row, k) => {
    const { p50 } = row.latency_ms!;
    const label = `${row.model}, ${ACCELERATOR_NAMES[row.requested_accelerator]}`;
    const ran = row.effective_accelerator === "cpu" && row.requested_accelerator !== "cpu" ? " (ran on the CPU)" : "";
    const width = Math.max((p50 / longest) * (wide - 90), 2);
    add(svg, "text", { x: 0, y: k * LINE + 14, class: "label" }, label + ran);
    add(svg, "rect", { x: 0, y: k * LINE + 20, width, height: BAR, rx: 3, class: `bar ${row.effective_accelerator}` });
    add(svg, "text", { x: width + 8, y: k * LINE + 33, class: "figure" }, `${number(p50)} ms`);
    return `${label}${ran}: ${number(p50)} ms`;
  });
  svg.setAttribute("aria-label", `Median time of one inference. ${lines.join("; ")}`);
  return svg;
}
