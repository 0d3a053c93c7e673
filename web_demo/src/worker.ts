// The worker: LiteRT.js and all that takes long. One worker has one build of LiteRT.js; the page ends it to change the build.

import { type CompiledModel, type CompileOptions, type LiteRt, loadLiteRt, supportsFeature, Tensor } from "@litertjs/core";
import { TFLiteFile } from "./flatbuffer";
import { crop, difference, imresize, psnrY } from "./image";
import { type Compiled, Network, type Session } from "./network";
import type { Accelerator, Build, Job, Outcome, Reply, Request } from "./protocol";
import type { Values } from "./values";

declare const self: { Module?: unknown; location: Location } & typeof globalThis;

let runtime: LiteRt;

const FILES: Record<Build, string> = { plain: "", threads: "threaded_", jspi: "jspi_" };

/** Loads LiteRT.js. `known` is its compiled WebAssembly from an earlier worker; returns it for later ones. */
async function open(build: Build, known: WebAssembly.Module | null): Promise<WebAssembly.Module> {
  const wasm = new URL("wasm/", self.location.href).href;
  const kind = (await supportsFeature("relaxedSimd")) ? FILES[build] : "compat_"; // as LiteRT.js chooses
  const module = known ?? (await WebAssembly.compile(await (await fetch(`${wasm}litert_wasm_${kind}internal.wasm`)).arrayBuffer()));
  let fail: (reason: unknown) => void;
  const failure = new Promise<never>((_, reject) => (fail = reject));
  self.Module = {
    // Threads are workers that load the script again.
    mainScriptUrlOrBlob: `${wasm}litert_wasm_threaded_internal.js`,
    instantiateWasm: (imports: WebAssembly.Imports, done: (instance: WebAssembly.Instance, module: WebAssembly.Module) => void) => {
      void WebAssembly.instantiate(module, imports).then((instance) => done(instance, module), fail);
      return {};
    },
  };
  runtime = await Promise.race([loadLiteRt(wasm, { threads: build === "threads", jspi: build === "jspi" }), failure]);
  return module;
}

class Model implements Compiled {
  constructor(readonly model: CompiledModel, private readonly shape: number[]) {}

  async run(values: Values): Promise<Values> {
    const input = new Tensor(values as Float32Array<ArrayBuffer>, this.shape);
    try {
      const [output, ...others] = await this.model.run([input]);
      const result = await output!.data();
      const copy = result instanceof Float32Array ? new Float32Array(result) : new Uint8Array(result);
      for (const tensor of [output!, ...others]) tensor.delete();
      return copy;
    } finally {
      input.delete();
    }
  }

  close(): void {
    this.model.delete();
  }
}

function options(accelerator: Accelerator): CompileOptions {
  if (accelerator === "npu") return { accelerator: "webnn", webNNOptions: { devicePreference: "npu" } };
  if (accelerator === "cpu") return { accelerator: "wasm" };
  return { accelerator: "webgpu", gpuOptions: { precision: accelerator === "gpu" ? "fp16" : "fp32" } };
}

async function compile(bytes: Uint8Array, input: number[], output: number[], accelerator: Accelerator = "cpu"): Promise<Model> {
  const sized = new TFLiteFile(bytes).withShapes(input, output);
  return new Model(await runtime.loadAndCompile(sized, options(accelerator)), input);
}

function gpuName(): string | null {
  const info = runtime.getWebGpuDevice()?.adapterInfo;
  return info ? [info.vendor, info.architecture, info.device, info.description].filter(Boolean).join(" ") || null : null;
}

async function run(job: Job, progress: (done: number, of: number, what: string) => void): Promise<Outcome> {
  const network = await Network.open(job.bytes, job.facts, compile, job.photo);
  const window = network.window(job.image);
  const part = crop(job.image, 0, 0, Math.min(window[0], job.image.height), Math.min(window[1], job.image.width));
  const notes: string[] = [];
  progress(0, 1, "compiling");
  let model: Model | undefined;
  const prepare = async (accelerator: Accelerator): Promise<{ session: Session; load_ms: number; first_ms: number }> => {
    const start = performance.now();
    const session = await network.compile(async (...args) => (model = await compile(...args, accelerator)), window);
    const load_ms = performance.now() - start;
    await session.run(part, network.values);
    return { session, load_ms, first_ms: session.inferences.pop()! };
  };
  const { session, load_ms, first_ms } = await prepare(job.accelerator);
  const ran = model!.model.options.accelerator;
  const effective = ran === "wasm" ? "cpu" : ran === "webnn" ? "npu" : "gpu";
  if (effective === "cpu" && job.accelerator !== "cpu") notes.push("LiteRT.js ran all operators on the CPU");
  const fully = effective === "cpu" || model!.model.isFullyAccelerated;
  if (!fully) notes.push("some operators ran on the CPU");
  const sr = await network.upscale(session, job.image, (done, of) => progress(done, of, "windows"));
  const image_ms = session.inferences.reduce((sum, ms) => sum + ms, 0);
  const windows = session.inferences.length;
  const samples_ms = await session.time(job.image, network.values, job.runs, (done) => progress(done, job.runs, "timed runs"));
  session.close();
  const bicubic = network.scale === 1 ? job.image : imresize(job.image, network.scale);
  let against_cpu = null;
  if (effective !== "cpu") {
    progress(0, 1, "comparing with the CPU");
    const cpu = await network.compile(compile, window);
    against_cpu = difference(await network.upscale(cpu, job.image, () => undefined), sr);
    cpu.close();
  }
  let against_reference = null;
  if (job.reference && job.reference.width === sr.width && job.reference.height === sr.height) {
    const { max, psnr } = difference(sr, job.reference, network.scale);
    const [psnr_y, bicubic_psnr_y] = [sr, bicubic].map((image) => psnrY(image, job.reference!, network.scale)) as [number, number];
    against_reference = { psnr_y, bicubic_psnr_y, equal: psnr === null, max };
  }
  return {
    sr, bicubic, facts: network.facts, window, windows, image_ms, effective, notes, against_cpu, against_reference,
    times: { load_ms, first_ms, samples_ms },
    fully_accelerated: fully,
    threads: runtime.liteRtWasm.getThreadCount(),
    gpu: effective === "gpu" ? gpuName() : null,
    memory_bytes: runtime.liteRtWasm.HEAPU8.length,
  };
}

/** An error as one line for the user. */
function reason(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const line = text.replace(/\s+/g, " ").trim().slice(0, 300) || "unknown error";
  return line.startsWith("ERROR:") ? `LiteRT.js failed (${line.replace(/^ERROR: /, "")})` : line;
}

self.onmessage = async (event: MessageEvent<Request>) => {
  const { id } = event.data;
  const reply = (message: Reply): void => postMessage(message);
  try {
    if ("open" in event.data) reply({ id, result: await open(event.data.open, event.data.module) });
    else reply({ id, result: await run(event.data.job, (done, of, what) => reply({ id, done, of, what })) });
  } catch (error) {
    reply({ id, error: reason(error) });
  }
};
