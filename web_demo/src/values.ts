// Conversion between images and tensor values: mobile_sr/inference/tensor_values.py in the browser. LiteRT.js reads and writes
// float32 and uint8 tensors; other types are refused when a file is opened.

import type { TensorInfo } from "./flatbuffer";

/** Real values of black and white, by name of the range. */
export const RANGES: Record<string, readonly [number, number]> = { "1": [0, 1], "255": [0, 255], "-1": [-1, 1] };
export const FLOAT_RANGES = ["1", "255", "-1"]; // the preferred one first
const MAX_OF_UNIT = 16;

export type Values = Float32Array | Uint8Array;

const f32 = Math.fround;

/** The ranges that are possible for an image in a tensor, the most likely one first. */
export function valueRanges(tensor: TensorInfo): string[] {
  if (tensor.dtype === "float32") return FLOAT_RANGES;
  const scale = tensor.scale ?? 1;
  const [low, high] = [(0 - tensor.zeroPoint) * scale, (255 - tensor.zeroPoint) * scale];
  if (high > MAX_OF_UNIT) return ["255"];
  if (low > -0.5) return ["1"];
  return Math.max(Math.abs(low + 1), Math.abs(high - 1)) < 0.25 ? ["-1", "1"] : ["1", "-1"];
}

function isBytes(tensor: TensorInfo, range: string): boolean {
  const [low, high] = RANGES[range]!;
  return tensor.dtype === "uint8" && tensor.zeroPoint === 0 && low === 0 && Math.abs(((tensor.scale ?? 1) * 255) / high - 1) < 1e-5;
}

function toFloat(level: number, low: number, high: number): number {
  const value = f32(f32(level * (high - low)) / 255);
  return low ? f32(value + low) : value;
}

/** Converts levels of 0..255 to the values of the input tensor. Levels that are not rounded come as Float32Array. */
export function encode(levels: Values, tensor: TensorInfo, range: string): Values {
  const [low, high] = RANGES[range]!;
  if (tensor.dtype === "float32") {
    if (levels instanceof Float32Array) return levels.map((level) => toFloat(level, low, high));
    const table = Float32Array.from({ length: 256 }, (_, level) => toFloat(level, low, high));
    return Float32Array.from(levels, (level) => table[level]!);
  }
  const scale = tensor.scale ?? 1;
  const quantize = (real: number): number => Math.min(Math.max(Math.floor(real / scale + 0.5) + tensor.zeroPoint, 0), 255);
  if (levels instanceof Float32Array) return Uint8Array.from(levels, (level) => quantize(toFloat(level, low, high)));
  if (isBytes(tensor, range)) return levels;
  const table = Uint8Array.from({ length: 256 }, (_, level) => quantize(low + (level * (high - low)) / 255));
  return levels.map((level) => table[level]!);
}

/** Converts the values of the output tensor to float32 with white at 1, not clipped. */
export function toReal(values: Values, tensor: TensorInfo, range: string): Float32Array {
  const [low, high] = RANGES[range]!;
  const unit = low === 0 && high === 1;
  const scale = tensor.scale ?? 1;
  return Float32Array.from(values, (value) => {
    const real = tensor.dtype === "float32" ? value : f32((value - tensor.zeroPoint) * scale);
    return unit ? real : f32(f32(real - low) / (high - low));
  });
}

/** Rounds float32 in 0..1 to levels, half up. */
export function toLevel(real: number): number {
  return Math.min(Math.max(Math.floor(f32(f32(real * 255) + 0.5)), 0), 255);
}

/** Converts the values of the output tensor to levels of 0..255. */
export function decode(values: Values, tensor: TensorInfo, range: string): Uint8Array {
  if (tensor.dtype === "float32") return Uint8Array.from(toReal(values, tensor, range), toLevel);
  if (isBytes(tensor, range)) return values as Uint8Array;
  const [low, high] = RANGES[range]!;
  const scale = tensor.scale ?? 1;
  const table = Uint8Array.from({ length: 256 }, (_, value) => {
    const real = (value - tensor.zeroPoint) * scale;
    return Math.min(Math.max(Math.floor(((real - low) * 255) / (high - low) + 0.5), 0), 255);
  });
  return (values as Uint8Array).map((value) => table[value]!);
}
