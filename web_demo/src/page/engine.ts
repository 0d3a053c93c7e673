// The page's side of the worker: it chooses the build of LiteRT.js for an accelerator and says why one is not available.

import type { Accelerator, Build, Job, Outcome, Reply, Request } from "../protocol";

type Unsent = Request extends infer R ? (R extends { id: number } ? Omit<R, "id"> : never) : never;
export type Progress = (done: number, of: number, what: string) => void;

const hasJspi = "Suspending" in WebAssembly; // JavaScript Promise Integration

/** Returns why an accelerator cannot be used here; null if the browser offers it. */
export function unavailable(accelerator: Accelerator): string | null {
  if (accelerator === "cpu") return null;
  if (!window.isSecureContext) return "needs HTTPS or localhost";
  if (accelerator === "npu") {
    if (!("ml" in navigator)) return "this browser has no WebNN";
    return hasJspi ? null : "this browser lacks JavaScript Promise Integration";
  }
  return "gpu" in navigator ? null : "this browser has no WebGPU";
}

export function buildFor(accelerator: Accelerator): Build {
  if (accelerator === "cpu") return window.crossOriginIsolated ? "threads" : "plain";
  return hasJspi ? "jspi" : "plain";
}

/**
 * Runs jobs one after the other, each in a new worker: load times and memory are then those of one file, and a failed run,
 * which can damage LiteRT.js's memory, has no effect on the next one.
 */
export class Engine {
  private worker: Worker | null = null;
  private readonly modules = new Map<Build, WebAssembly.Module>(); // of LiteRT.js: loaded and compiled once
  private next = 0;
  private stopped = false;
  private reject: ((reason: Error) => void) | null = null;

  /** Runs a job. If its accelerator fails, it is run again on the CPU, and the outcome's notes say why. */
  async run(job: Job, progress: Progress): Promise<Outcome> {
    try {
      const notes = await this.open(buildFor(job.accelerator), progress);
      const outcome = (await this.send({ job }, progress)) as Outcome;
      this.close();
      return { ...outcome, notes: [...notes, ...outcome.notes] };
    } catch (error) {
      this.close();
      if (job.accelerator === "cpu" || this.stopped) throw error;
      const outcome = await this.run({ ...job, accelerator: "cpu" }, progress);
      const note = `${job.accelerator === "npu" ? "NPU" : "GPU"}: ${(error as Error).message.replace(/\.$/, "")}; ran on the CPU instead`;
      return { ...outcome, notes: [note, ...outcome.notes] };
    }
  }

  private async open(build: Build, progress: Progress): Promise<string[]> {
    this.close();
    this.worker = new Worker("worker.js");
    progress(0, 1, "loading LiteRT.js");
    try {
      const module = await this.send({ open: build, module: this.modules.get(build) ?? null }, progress);
      this.modules.set(build, module as WebAssembly.Module);
      return [];
    } catch (error) {
      if (build === "plain" || this.stopped) throw error;
      const notes = [`LiteRT.js with ${build === "threads" ? "threads" : "JSPI"}: ${(error as Error).message}`];
      return [...notes, ...(await this.open("plain", progress))];
    }
  }

  private send(message: Unsent, progress: Progress): Promise<unknown> {
    const { worker } = this;
    const id = this.next++;
    this.stopped = false;
    return new Promise((resolve, reject) => {
      this.reject = reject;
      worker!.onmessage = ({ data }: MessageEvent<Reply>) => {
        if (data.id !== id) return;
        if ("error" in data) reject(new Error(data.error));
        else if ("result" in data) resolve(data.result);
        else progress(data.done, data.of, data.what);
      };
      worker!.onerror = (event) => {
        this.close();
        reject(new Error(event.message || "the worker stopped; the device may have too little memory"));
      };
      worker!.postMessage({ id, ...message } as Request);
    });
  }

  /** Ends the job that runs, if there is one. */
  stop(): void {
    this.stopped = true;
    this.close();
    this.reject?.(new Error("stopped"));
  }

  /** Ends the worker and frees its memory. */
  close(): void {
    this.worker?.terminate();
    this.worker = null;
  }
}
