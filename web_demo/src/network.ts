// Upscales images with one .tflite file, window by window: mobile_sr/inference/upscaler.py in the browser.

import { type Ends, type Facts, findEnds, orders, shapeOf, sides, type Values } from "./facts";
import { TFLiteFile } from "./flatbuffer";
import { crop, type Image, imresize, luma, padded } from "./image";
import { measure, type Sample } from "./measure";
import { planTiles } from "./tiles";
import { decode, encode, toLevel, toReal, type Values as TensorValues, valueRanges } from "./values";

const TILE = 256; // LR pixels; images with a side above twice this length are cut into tiles of about this size
const UNKNOWN_RECEPTIVE_FIELD = 16;
const CHROMA_REACH = 2; // LR pixels to each side that bicubic interpolation of Cb and Cr depends on
const SAMPLE_SIDE = 32; // LR pixels

/** A file that was compiled for one input size. */
export interface Compiled {
  run(values: TensorValues): Promise<TensorValues>;
  close(): void;
}

export type Compile = (bytes: Uint8Array, input: number[], output: number[]) => Promise<Compiled>;

/** The file compiled for windows of one size. Call `close` when it is not needed any more. */
export class Session {
  inferences: number[] = []; // wall time of each inference in ms

  constructor(readonly network: Network, readonly window: [number, number], private readonly compiled: Compiled) {}

  /** Runs the network on one window, [height, width, 3] of at most the window's size. */
  async run(part: Image, values: Values): Promise<Image> {
    const [height, width] = this.window;
    const image = part.height === height && part.width === width ? part : padded(part, height, width);
    const input = this.network.encode(image, values);
    const start = performance.now();
    const raw = await this.compiled.run(input);
    this.inferences.push(performance.now() - start);
    const { scale } = this.network;
    const sr = this.network.decode(raw, image, values);
    return image === part ? sr : crop(sr, 0, 0, part.height * scale, part.width * scale);
  }

  /** Repeats one inference on the values of an image's first window. Returns the wall times in ms. */
  async time(image: Image, values: Values, runs: number, progress: (done: number) => void): Promise<number[]> {
    const [height, width] = this.window;
    const part = crop(image, 0, 0, Math.min(height, image.height), Math.min(width, image.width));
    const input = this.network.encode(padded(part, height, width), values);
    const times: number[] = [];
    for (let k = 0; k < runs; k++) {
      const start = performance.now();
      await this.compiled.run(input);
      times.push(performance.now() - start);
      progress(k + 1);
    }
    return times;
  }

  close(): void {
    this.compiled.close();
  }
}

/** A network from image to image. `open` finds what its facts lack. */
export class Network {
  private constructor(
    readonly file: TFLiteFile,
    readonly facts: Facts,
    readonly ends: Ends,
    readonly scale: number,
    public values: Values,
  ) {}

  /**
   * Opens a file whose scale is known. Value ranges and channel order that its facts lack are measured on the CPU.
   *
   * Throws an Error with a reason for the user if it is not a network that the page can run.
   */
  static async open(bytes: Uint8Array, facts: Facts, compile: Compile, photo: Image): Promise<Network> {
    const file = new TFLiteFile(bytes);
    const ends = findEnds(file.signature, facts.layout);
    const { scale } = facts;
    if (scale === null) throw new Error("its scale is not known");
    const guess: Values = facts.values ?? { range_in: "1", range_out: "1", order: orders(ends.channels)[0]! };
    const network = new Network(file, { ...facts }, ends, scale, guess);
    if (!facts.values) network.values = await network.measureValues(compile, photo);
    network.facts.values = network.values;
    return network;
  }

  private async measureValues(compile: Compile, photo: Image): Promise<Values> {
    const { inputs, outputs } = this.file.signature;
    const [range_in, range_out] = [valueRanges(inputs[0]!), valueRanges(outputs[0]!)];
    const candidates = { inputs: range_in, outputs: range_out, orders: orders(this.ends.channels) };
    if (Math.max(range_in.length, range_out.length, candidates.orders.length) === 1) {
      return { range_in: range_in[0]!, range_out: range_out[0]!, order: candidates.orders[0]! };
    }
    const side = Math.max(SAMPLE_SIDE, this.facts.smallest_side);
    const sample = makeSample(photo, this.ends.fixed ?? [side, side], this.scale, this.ends.channels === 1);
    const session = await this.compile(compile, [sample.lr.height, sample.lr.width]);
    try {
      const measured = await measure(this.facts, candidates, sample, this.scale, (image, values) => session.run(image, values));
      return measured.values;
    } finally {
      session.close();
    }
  }

  /** LR pixels that neighbouring windows share on each side. */
  get overlap(): number {
    const field = this.facts.receptive_field;
    if (field !== null) return this.values.order.startsWith("y") ? Math.max(field, CHROMA_REACH) : field;
    const { fixed } = this.ends;
    return fixed ? Math.min(UNKNOWN_RECEPTIVE_FIELD, Math.floor(Math.min(...fixed) / 4)) : UNKNOWN_RECEPTIVE_FIELD;
  }

  /** The size (height, width) in LR pixels that all windows of an image share. */
  window(image: Image): [number, number] {
    if (this.ends.fixed) return this.ends.fixed;
    const size: [number, number] = [image.height, image.width];
    const whole = this.facts.receptive_field === null || Math.max(...size) <= 2 * TILE;
    const side = TILE + 2 * this.overlap;
    const window: [number, number] = whole ? size : [Math.min(size[0], side), Math.min(size[1], side)];
    const smallest = this.facts.smallest_side;
    return [Math.max(window[0], smallest), Math.max(window[1], smallest)];
  }

  async compile(compile: Compile, size: [number, number]): Promise<Session> {
    const { channels, input, output } = this.ends;
    const larger: [number, number] = [size[0] * this.scale, size[1] * this.scale];
    const compiled = await compile(this.file.bytes, shapeOf(size, channels, input), shapeOf(larger, channels, output));
    return new Session(this, size, compiled);
  }

  /** Upscales an image. `progress` is called with (windows done, number of windows). */
  async upscale(session: Session, image: Image, progress: (done: number, of: number) => void): Promise<Image> {
    const { scale } = this;
    const tiles = planTiles([image.height, image.width], session.window, this.overlap);
    const sr: Image = { width: image.width * scale, height: image.height * scale, data: new Uint8Array(image.data.length * scale ** 2) };
    for (const [done, { rows, columns }] of tiles.entries()) {
      const height = Math.min(session.window[0], image.height);
      const width = Math.min(session.window[1], image.width);
      const part = await session.run(crop(image, rows.start, columns.start, height, width), this.values);
      for (let y = rows.from * scale; y < rows.to * scale; y++) {
        const from = 3 * ((y - rows.start * scale) * part.width + (columns.from - columns.start) * scale);
        const line = part.data.subarray(from, from + 3 * (columns.to - columns.from) * scale);
        sr.data.set(line, 3 * (y * sr.width + columns.from * scale));
      }
      progress(done + 1, tiles.length);
    }
    return sr;
  }

  encode(image: Image, values: Values): TensorValues {
    const tensor = this.file.signature.inputs[0]!;
    const { order, range_in } = values;
    const levels = order === "bgr" ? swapped(image.data) : order === "rgb" ? image.data : luma(image, ...ends(order));
    return transposed(encode(levels, tensor, range_in), image.height * image.width, this.ends.channels, this.ends.input === "nchw");
  }

  decode(raw: TensorValues, lr: Image, values: Values): Image {
    const tensor = this.file.signature.outputs[0]!;
    const { order, range_out } = values;
    const [height, width] = [lr.height * this.scale, lr.width * this.scale];
    const { channels, output } = this.ends;
    const interleaved = output === "nchw" ? transposed(raw, channels, height * width, true) : raw;
    if (channels === 1) return withChroma(toReal(interleaved, tensor, range_out), lr, this.scale, ...ends(order));
    const data = decode(interleaved, tensor, range_out);
    return { width, height, data: order === "bgr" ? swapped(data) : data };
  }
}

function ends(order: string): [number, number] {
  return order === "y" ? [16, 235] : [0, 255];
}

function swapped(data: Uint8Array): Uint8Array {
  const result = new Uint8Array(data.length);
  for (let k = 0; k < data.length; k += 3) {
    result[k] = data[k + 2]!;
    result[k + 1] = data[k + 1]!;
    result[k + 2] = data[k]!;
  }
  return result;
}

/** Transposes [rows, columns] to [columns, rows], if asked to. */
function transposed(values: TensorValues, rows: number, columns: number, wanted: boolean): TensorValues {
  if (!wanted || columns === 1 || rows === 1) return values;
  const result = values instanceof Float32Array ? new Float32Array(values.length) : new Uint8Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[column * rows + row] = values[row * columns + column]!;
  }
  return result;
}

/** Combines an upscaled Y, white at 1, with the Cb and Cr of the LR image, upscaled by bicubic interpolation. */
function withChroma(y: Float32Array, lr: Image, scale: number, black: number, white: number): Image {
  const bicubic = scale === 1 ? lr : imresize(lr, scale);
  const own = luma(bicubic, black, white);
  const data = new Uint8Array(bicubic.data.length);
  for (let k = 0; k < data.length; k++) {
    const at = Math.floor(k / 3);
    const change = (y[at]! - own[at]! / 255) * (255 / (white - black));
    data[k] = toLevel(bicubic.data[k]! / 255 + change);
  }
  return { ...bicubic, data };
}

/** Returns the scale of a file, from its sizes or operators. Throws an Error with a reason for the user if it has none. */
export function findScale(bytes: Uint8Array): number {
  const file = new TFLiteFile(bytes);
  const ends = findEnds(file.signature, null);
  const larger = sides(file.signature.outputs[0]!.shape, ends.output);
  if (!ends.fixed || Math.min(...larger) < 1) {
    if (file.scale) return file.scale;
    throw new Error("its operators do not tell its scale; open it together with its .json, or export it with a fixed size");
  }
  const scale = Math.floor(larger[0] / ends.fixed[0]);
  if (scale && larger.every((side, k) => side === scale * ends.fixed![k]!)) return scale;
  throw new Error(`it maps ${ends.fixed.join("x")} to ${larger.join("x")}, which is not an integer scale`);
}

/** A pair of images of the right size from the middle of a photo, gray for a network that upscales Y alone. */
function makeSample(photo: Image, size: [number, number], scale: number, gray: boolean): Sample {
  const [height, width] = [size[0] * Math.max(scale, 2), size[1] * Math.max(scale, 2)];
  const large = Math.max(height / photo.height, width / photo.width);
  const source = large > 1 ? imresize(photo, large) : photo;
  const [top, left] = [Math.floor((source.height - height) / 2), Math.floor((source.width - width) / 2)];
  let hr = crop(source, Math.max(top, 0), Math.max(left, 0), height, width);
  if (gray) {
    const y = luma(hr, 0, 255);
    hr = { ...hr, data: Uint8Array.from(hr.data, (_, k) => Math.floor(y[Math.floor(k / 3)]! + 0.5)) };
  }
  if (scale > 1) return { hr, lr: imresize(hr, 1 / scale) };
  hr = crop(hr, 0, 0, size[0], size[1]);
  return { hr, lr: crop(imresize(imresize(hr, 0.5), 2), 0, 0, size[0], size[1]) };
}
