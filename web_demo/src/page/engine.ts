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

/** Runs jobs one after the other in a worker. */
export class Engine {
  private worker: Worker | null = null;
  private build: Build | null = null;
  private next = 0;
  private reject: ((reason: Error) => void) | null = null;

  async run(job: Job, progress: Progress): Promise<Outcome> {
    const build = buildFor(job.accelerator);
    const notes = await this.open(build, progress);
    const outcome = (await this.send({ job }, progress)) as Outcome;
    return { ...outcome, notes: [...notes, ...outcome.notes] };
  }

  private async open(build: Build, progress: Progress): Promise<string[]> {
    if (this.worker && this.build === build) return [];
    this.close();
    this.worker = new Worker("worker.js");
    progress(0, 1, "loading LiteRT.js");
    try {
      await this.send({ open: build }, progress);
      this.build = build;
      return [];
    } catch (error) {
      if (build === "plain") throw error;
      const notes = [`LiteRT.js with ${build === "threads" ? "threads" : "JSPI"}: ${(error as Error).message}`];
      return [...notes, ...(await this.open("plain", progress))];
    }
  }

  private send(message: Unsent, progress: Progress): Promise<unknown> {
    const { worker } = this;
    const id = this.next++;
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
    this.close();
    this.reject?.(new Error("stopped"));
  }

  /** Ends the worker and frees its memory. */
  close(): void {
    this.worker?.terminate();
    this.worker = this.build = null;
  }
}
