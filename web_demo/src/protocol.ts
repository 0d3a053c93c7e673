// Messages between the page and its worker.

import type { Facts } from "./facts";
import type { Difference, Image } from "./image";

export const ACCELERATORS = ["cpu", "gpu", "gpu_fp32", "npu"] as const;
export type Accelerator = (typeof ACCELERATORS)[number];
export type Build = "plain" | "threads" | "jspi"; // of LiteRT.js

export const ACCELERATOR_NAMES: Record<Accelerator, string> = {
  cpu: "CPU",
  gpu: "GPU (16-bit floats)",
  gpu_fp32: "GPU (32-bit floats)",
  npu: "NPU",
};

export interface Job {
  bytes: Uint8Array;
  facts: Facts;
  image: Image; // to upscale
  reference: Image | null; // the HR image that belongs to it, if there is one
  photo: Image; // on which values that nobody gave are measured
  accelerator: Accelerator;
  runs: number; // timed inferences
}

export interface Times {
  load_ms: number; // compilation for the window's size
  first_ms: number;
  samples_ms: number[];
}

export interface Outcome {
  sr: Image;
  bicubic: Image;
  facts: Facts; // complete
  window: [number, number]; // of the timed inference, LR pixels
  windows: number;
  image_ms: number; // inferences of the whole image
  times: Times;
  effective: "cpu" | "gpu" | "npu";
  fully_accelerated: boolean; // false: some operators ran on the CPU
  threads: number;
  gpu: string | null; // name of the adapter
  memory_bytes: number; // WebAssembly memory of LiteRT.js after the run
  notes: string[]; // reasons for fallbacks
  against_cpu: Difference | null; // null on the CPU
  against_reference: { psnr_y: number | null; bicubic_psnr_y: number | null; equal: boolean; max: number } | null;
}

export type Request = { id: number; open: Build; module: WebAssembly.Module | null } | { id: number; job: Job };
export type Reply =
  | { id: number; done: number; of: number; what: string }
  | { id: number; error: string }
  | { id: number; result: unknown };
