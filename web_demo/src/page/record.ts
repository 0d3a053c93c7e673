// Results as docs/reference/benchmark.schema.json has them ("where": "browser"), as CSV, and as text.

import type { Accelerator, Outcome } from "../protocol";
import type { Facts } from "../facts";

declare const LITERT_VERSION: string; // set by build.mjs

export interface Statistics {
  min: number;
  mean: number;
  p50: number;
  p90: number;
  p99: number;
  std: number;
}

export interface Row {
  model: string;
  sha256: string | null;
  size_bytes: number;
  requested_accelerator: Accelerator;
  effective_accelerator: "cpu" | "gpu" | "npu" | null; // null when nothing ran
  fully_accelerated: boolean | null;
  threads: number | null;
  gpu: string | null;
  width: number | null; // LR pixels of the timed inference
  height: number | null;
  load_ms: number | null;
  first_ms: number | null;
  latency_ms: Statistics | null;
  samples_ms: number[];
  memory_bytes: number | null;
  against_cpu: { psnr: number | null; max_difference: number; differing_fraction: number } | null;
  against_reference: { psnr_y: number | null; bicubic_psnr_y: number | null; max_difference: number } | null;
  notes: string[];
  error: string | null;
}

/** Statistics with linear percentiles and the population's standard deviation, as NumPy computes them. */
export function statistics(samples: number[]): Statistics {
  const sorted = [...samples].sort((a, b) => a - b);
  const percentile = (p: number): number => {
    const at = (p / 100) * (sorted.length - 1);
    const low = Math.floor(at);
    const high = sorted[Math.min(low + 1, sorted.length - 1)]!;
    return sorted[low]! + (at - low) * (high - sorted[low]!);
  };
  const mean = samples.reduce((sum, x) => sum + x, 0) / samples.length;
  const std = Math.sqrt(samples.reduce((sum, x) => sum + (x - mean) ** 2, 0) / samples.length);
  return { min: sorted[0]!, mean, p50: percentile(50), p90: percentile(90), p99: percentile(99), std };
}

function identity(facts: Facts, accelerator: Accelerator): Pick<Row, "model" | "sha256" | "size_bytes" | "requested_accelerator"> {
  return { model: facts.name, sha256: facts.sha256, size_bytes: facts.size_bytes, requested_accelerator: accelerator };
}

export function rowOf(facts: Facts, accelerator: Accelerator, outcome: Outcome): Row {
  const { times, against_cpu: cpu, against_reference: reference } = outcome;
  return {
    ...identity(facts, accelerator),
    effective_accelerator: outcome.effective,
    fully_accelerated: outcome.fully_accelerated,
    threads: outcome.threads,
    gpu: outcome.gpu,
    width: outcome.window[1],
    height: outcome.window[0],
    load_ms: times.load_ms,
    first_ms: times.first_ms,
    latency_ms: statistics(times.samples_ms),
    samples_ms: times.samples_ms,
    memory_bytes: outcome.memory_bytes,
    against_cpu: cpu && { psnr: cpu.psnr, max_difference: cpu.max, differing_fraction: cpu.fraction },
    against_reference: reference && {
      psnr_y: reference.psnr_y,
      bicubic_psnr_y: reference.bicubic_psnr_y,
      max_difference: reference.max,
    },
    notes: outcome.notes,
    error: null,
  };
}

export function failedRow(facts: Facts, accelerator: Accelerator, error: string): Row {
  const none = { gpu: null, width: null, height: null, load_ms: null, first_ms: null, latency_ms: null, memory_bytes: null };
  const never = { effective_accelerator: null, fully_accelerated: null, threads: null, against_cpu: null, against_reference: null };
  return { ...identity(facts, accelerator), ...none, ...never, samples_ms: [], notes: [], error: error.slice(0, 300) };
}

/** Name of the device as far as the browser tells it. */
export async function deviceName(): Promise<string> {
  const data = (navigator as { userAgentData?: UserAgentData }).userAgentData;
  if (data) {
    const { model, platform, platformVersion } = await data.getHighEntropyValues(["model", "platform", "platformVersion"]).catch(() => data);
    return [model || "", platform || "", model ? platformVersion || "" : ""].filter(Boolean).join(" ") || "unknown device";
  }
  const match = /\(([^;)]+)/.exec(navigator.userAgent); // such as iPhone or Macintosh
  return match ? match[1]! : "unknown device";
}

interface UserAgentData {
  model?: string;
  platform?: string;
  platformVersion?: string;
  getHighEntropyValues(hints: string[]): Promise<UserAgentData>;
}

export function report(device: string, rows: Row[]): Record<string, unknown> {
  return {
    format: "mobile-sr benchmark 1",
    where: "browser",
    environment: {
      device: device.slice(0, 100) || "unknown device",
      user_agent: navigator.userAgent.slice(0, 400),
      cores: navigator.hardwareConcurrency || null,
      litert: `LiteRT.js ${LITERT_VERSION}`,
      secure_context: window.isSecureContext,
      cross_origin_isolated: window.crossOriginIsolated,
      date: new Date().toISOString().replace(/\.\d+Z$/, "+00:00"),
    },
    results: rows,
  };
}

const COLUMNS: [string, (row: Row) => unknown][] = [
  ["model", (row) => row.model],
  ["sha256", (row) => row.sha256],
  ["requested", (row) => row.requested_accelerator],
  ["ran_on", (row) => row.effective_accelerator],
  ["threads", (row) => row.threads],
  ["lr_width", (row) => row.width],
  ["lr_height", (row) => row.height],
  ["load_ms", (row) => row.load_ms],
  ["first_ms", (row) => row.first_ms],
  ["p50_ms", (row) => row.latency_ms?.p50],
  ["p90_ms", (row) => row.latency_ms?.p90],
  ["memory_bytes", (row) => row.memory_bytes],
  ["psnr_against_cpu_db", (row) => row.against_cpu?.psnr],
  ["max_difference_against_cpu", (row) => row.against_cpu?.max_difference],
  ["psnr_y_db", (row) => row.against_reference?.psnr_y],
  ["bicubic_psnr_y_db", (row) => row.against_reference?.bicubic_psnr_y],
  ["notes", (row) => row.notes.join("; ")],
  ["error", (row) => row.error],
];

/** Cells that a spreadsheet would take for formulas get an apostrophe. */
function cell(value: unknown): string {
  const text = value === null || value === undefined ? "" : String(value);
  const safe = /^[=+\-@\t]/.test(text) && typeof value === "string" ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function csv(device: string, rows: Row[]): string {
  const lines = [["device", ...COLUMNS.map(([name]) => name)], ...rows.map((row) => [device, ...COLUMNS.map(([, get]) => get(row))])];
  return lines.map((line) => line.map(cell).join(",") + "\r\n").join("");
}
