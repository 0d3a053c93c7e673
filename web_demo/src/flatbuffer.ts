// Reads what the page needs from a .tflite file: the tensors of its inputs and outputs. It also sets the size of the input,
// because LiteRT.js cannot resize a tensor with dynamic sides. Field numbers are those of TensorFlow Lite's schema.fbs.

export type DType = "float32" | "float16" | "int32" | "uint8" | "int64" | "bool" | "int16" | "int8" | "other";

const DTYPES: Record<number, DType> = {
  0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8",
};

// Operators that change the sides of an image by a factor that is in the file: {code: field of the factor in its options}.
const TRANSPOSE_CONV = 67;
const ENLARGING: Record<number, number> = { 5: 0, [TRANSPOSE_CONV]: 2 }; // DEPTH_TO_SPACE's block, TRANSPOSE_CONV's stride
const REDUCING: Record<number, number> = { 3: 2, 4: 2, 26: 0 }; // CONV_2D, DEPTHWISE_CONV_2D, SPACE_TO_DEPTH
// Operators that keep them: ADD, CONCATENATION, DEQUANTIZE, LOGISTIC, MUL, RELU, RELU_N1_TO_1, RELU6, TANH, PAD (before a
// convolution), TRANSPOSE, SUB, DIV, EXP, CAST, PRELU, MAXIMUM, MINIMUM, NEG, PADV2, RSQRT, LEAKY_RELU, MIRROR_PAD, ABS,
// QUANTIZE, HARD_SWISH, GELU, RELU_0_TO_1
const KEEPING = new Set([
  0, 2, 6, 14, 18, 19, 20, 21, 28, 34, 39, 41, 42, 47, 53, 54, 55, 57, 59, 60, 76, 98, 100, 101, 114, 117, 150, 152,
]);

export interface TensorInfo {
  name: string;
  dtype: DType;
  shape: number[]; // a dynamic side is negative
  scale: number | null; // of a quantized tensor
  zeroPoint: number;
}

export interface Signature {
  inputs: TensorInfo[];
  outputs: TensorInfo[];
}

/** A table of a FlatBuffer. `field` returns the position of a field's value, or 0 where the table omits it. */
class Table {
  constructor(readonly view: DataView, readonly at: number) {}

  field(number: number): number {
    const vtable = this.at - this.view.getInt32(this.at, true);
    const entry = 4 + 2 * number;
    const offset = entry < this.view.getUint16(vtable, true) ? this.view.getUint16(vtable + entry, true) : 0;
    return offset ? this.at + offset : 0;
  }

  int(number: number, kind: "getInt8" | "getInt32" | "getUint32" = "getUint32"): number {
    const at = this.field(number);
    return at ? this.view[kind](at, true) : 0;
  }

  table(number: number): Table | null {
    const at = this.field(number);
    return at ? new Table(this.view, at + this.view.getUint32(at, true)) : null;
  }

  /** Returns [position of the first element, number of elements] of a vector. */
  vector(number: number): [number, number] {
    const at = this.field(number);
    if (!at) return [0, 0];
    const start = at + this.view.getUint32(at, true);
    return [start + 4, this.view.getUint32(start, true)];
  }

  ints(number: number): number[] {
    const [start, count] = this.vector(number);
    return Array.from({ length: count }, (_, k) => this.view.getInt32(start + 4 * k, true));
  }

  tables(number: number): Table[] {
    const [start, count] = this.vector(number);
    return Array.from({ length: count }, (_, k) => {
      const at = start + 4 * k;
      return new Table(this.view, at + this.view.getUint32(at, true));
    });
  }

  text(number: number): string {
    const [start, count] = this.vector(number);
    return new TextDecoder().decode(new Uint8Array(this.view.buffer, this.view.byteOffset + start, count));
  }
}

/** The first graph of a .tflite file. Throws an Error with a reason for the user if the bytes are something else. */
export class TFLiteFile {
  private readonly graph: Table;
  private readonly codes: number[];
  private readonly tensors: Table[];

  constructor(readonly bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < 8 || new TextDecoder().decode(bytes.subarray(4, 8)) !== "TFL3") throw new Error("not a .tflite file");
    try {
      const model = new Table(view, view.getUint32(0, true));
      this.graph = model.tables(2)[0]!;
      if (model.tables(2).length > 1) throw new Error("it has several graphs; export one of its signatures");
      this.tensors = this.graph.tables(0);
      this.codes = model.tables(1).map((code) => Math.max(code.int(0, "getInt8"), code.int(3, "getInt32")));
      this.check();
    } catch (error) {
      throw error instanceof RangeError || error instanceof TypeError ? new Error("a damaged .tflite file") : error;
    }
  }

  private check(): void {
    for (const end of [1, 2]) {
      if (this.graph.ints(end).some((index) => !this.tensors[index])) throw new Error("a damaged .tflite file");
    }
  }

  get signature(): Signature {
    return { inputs: this.graph.ints(1).map((k) => this.info(k)), outputs: this.graph.ints(2).map((k) => this.info(k)) };
  }

  private info(index: number): TensorInfo {
    const tensor = this.tensors[index]!;
    const signature = tensor.ints(7);
    const quantization = tensor.table(4);
    const [scales, count] = quantization?.vector(2) ?? [0, 0];
    const [zeros] = quantization?.vector(3) ?? [0, 0];
    return {
      name: tensor.text(3),
      dtype: DTYPES[tensor.int(1, "getInt8")] ?? "other",
      shape: signature.length ? signature : tensor.ints(0),
      scale: count ? tensor.view.getFloat32(scales, true) : null,
      zeroPoint: count && zeros ? Number(tensor.view.getBigInt64(zeros, true)) : 0,
    };
  }

  /** The scale from the operators between output and input; null if one of them changes the size in another way. */
  get scale(): number | null {
    const producers = new Map<number, Table>();
    for (const operator of this.graph.tables(3)) for (const tensor of operator.ints(2)) producers.set(tensor, operator);
    const input = this.graph.ints(1)[0];
    let tensor = this.graph.ints(2)[0]!;
    let scale = 1;
    for (let steps = 0; tensor !== input; steps++) {
      const operator = producers.get(tensor);
      if (!operator || steps > producers.size) return null;
      const code = this.codes[operator.int(0)]!;
      const factor = (field: number): number => operator.table(4)?.int(field, "getInt32") || 1;
      if (code in ENLARGING) scale *= factor(ENLARGING[code]!);
      else if (code in REDUCING) scale /= factor(REDUCING[code]!);
      else if (!KEEPING.has(code)) return null;
      const inputs = operator.ints(1).slice(code === TRANSPOSE_CONV ? 2 : 0); // its first input is the size
      const next = inputs.find((index) => index === input || producers.has(index));
      if (next === undefined) return null;
      tensor = next;
    }
    return Number.isInteger(scale) && scale > 0 ? scale : null;
  }

  /** Returns a copy of the bytes in which the first input and output have fixed shapes. */
  withShapes(input: number[], output: number[]): Uint8Array {
    const copy = new Uint8Array(this.bytes);
    const view = new DataView(copy.buffer);
    const set = (index: number, shape: number[]): void => {
      for (const field of [0, 7]) {
        const [start, count] = this.tensors[index]!.vector(field);
        if (count === shape.length) shape.forEach((side, k) => view.setInt32(start + 4 * k, side, true));
      }
    };
    set(this.graph.ints(1)[0]!, input);
    set(this.graph.ints(2)[0]!, output);
    return copy;
  }
}

