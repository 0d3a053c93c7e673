// What is known about a network: from models.json or a sidecar, else from the file itself.

import type { Signature, TensorInfo } from "./flatbuffer";
import { FLOAT_RANGES, RANGES } from "./values";

export type Layout = "nhwc" | "nchw";
export type Order = "rgb" | "bgr" | "y" | "y_full";

export interface Values {
  range_in: string; // keys of RANGES
  range_out: string;
  order: Order;
}

/** Facts about a .tflite file, as models.json has them. An unknown one is null. */
export interface Facts {
  name: string;
  sha256: string | null;
  size_bytes: number;
  scale: number | null; // of its sizes and operators if null
  receptive_field: number | null; // LR pixels; null for a network that sees the whole image, or if it is unknown
  smallest_side: number;
  values: Values | null;
  layout: Layout | null; // of the input
}

/** Layout and fixed size of the tensors. */
export interface Ends {
  channels: 1 | 3;
  input: Layout;
  output: Layout;
  fixed: [number, number] | null;
}

const ORDERS: Record<number, Order[]> = { 1: ["y", "y_full"], 3: ["rgb", "bgr"] };

export function orders(channels: number): Order[] {
  return ORDERS[channels]!;
}

function readings(shape: number[]): [1 | 3, Layout][] {
  const every: [1 | 3, Layout][] = [[3, "nhwc"], [3, "nchw"], [1, "nhwc"], [1, "nchw"]];
  const at = (layout: Layout): number => shape[layout === "nhwc" ? 3 : 1]!;
  const exact = every.filter(([channels, layout]) => at(layout) === channels);
  return exact.length ? exact : every.filter(([, layout]) => at(layout) < 0);
}

export function sides(shape: number[], layout: Layout): [number, number] {
  return layout === "nhwc" ? [shape[1]!, shape[2]!] : [shape[2]!, shape[3]!];
}

export function shapeOf(size: [number, number], channels: number, layout: Layout): number[] {
  return layout === "nhwc" ? [1, ...size, channels] : [1, channels, ...size];
}

/** Reads the layout from the shapes. Throws an Error with a reason for the user if it is not a network from image to image. */
export function findEnds(signature: Signature, layout: Layout | null): Ends {
  const { inputs, outputs } = signature;
  if (inputs.length !== 1) throw new Error(`it has ${inputs.length} inputs; this page runs networks whose only input is an image`);
  if (outputs.length !== 1) throw new Error(`it has ${outputs.length} outputs; this page runs networks whose only output is an image`);
  for (const tensor of [inputs[0]!, outputs[0]!]) check(tensor);
  const [input, output] = [inputs[0]!.shape, outputs[0]!.shape];
  for (const [channels, own] of readings(input)) {
    const also = readings(output).filter(([other]) => other === channels).map(([, other]) => other);
    if (!also.length || (layout && own !== layout)) continue;
    const size = sides(input, own);
    return { channels, input: own, output: also.includes(own) ? own : also[0]!, fixed: Math.min(...size) > 0 ? size : null };
  }
  throw new Error(`it maps ${input.join("x")} to ${output.join("x")}, which are not images of 3 or 1 channels`);
}

function check(tensor: TensorInfo): void {
  if (tensor.shape.length !== 4) throw new Error(`its tensor '${tensor.name}' has ${tensor.shape.length} axes; an image has 4`);
  if (tensor.dtype !== "float32" && tensor.dtype !== "uint8") {
    throw new Error(`its tensor '${tensor.name}' is ${tensor.dtype}; LiteRT.js supports float32 and uint8, so export it as one of these`);
  }
}

/** Facts about a file without any record. */
export function unknown(name: string, size_bytes: number, sha256: string | null): Facts {
  const rest = { scale: null, receptive_field: null, smallest_side: 1, values: null, layout: null };
  return { name, sha256, size_bytes, ...rest };
}

/** Facts from a sidecar of mobile-sr (docs/reference/sidecar.md). Throws an Error if it belongs to another file. */
export function fromSidecar(name: string, size_bytes: number, sha256: string | null, sidecar: Record<string, unknown>): Facts {
  if (sidecar.sha256 !== sha256) throw new Error("the sidecar belongs to another file (its SHA-256 differs)");
  const number = (key: string): number | null => (typeof sidecar[key] === "number" ? (sidecar[key] as number) : null);
  const order = sidecar.order as Order | undefined;
  const range = FLOAT_RANGES.find((key) => JSON.stringify(RANGES[key]) === JSON.stringify(sidecar.value_range));
  const channels = order ? (order.startsWith("y") ? 1 : 3) : (number("channels") ?? 3);
  const known = range ? { range_in: range, range_out: range, order: order ?? orders(channels)[0]! } : null;
  return {
    ...unknown(name, size_bytes, sha256),
    scale: number("scale"),
    receptive_field: number("receptive_field"),
    smallest_side: number("smallest_side") ?? 1,
    values: known,
    layout: sidecar.layout === "nchw" || sidecar.layout === "nhwc" ? sidecar.layout : null,
  };
}
