// Reads what the page needs from a .tflite file: the tensors of its inputs and outputs. It also sets the size of the input,
// because LiteRT.js cannot resize a tensor with dynamic sides. Field numbers are those of TensorFlow Lite's schema.fbs.

export type DType = "float32" | "float16" | "int32" | "uint8" | "int64" | "bool" | "int16" | "int8" | "other";

const DTYPES: Record<number, DType> = {
  0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8",
};

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
  private readonly tensors: Table[];

  constructor(readonly bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < 8 || new TextDecoder().decode(bytes.subarray(4, 8)) !== "TFL3") throw new Error("not a .tflite file");
    try {
      const model = new Table(view, view.getUint32(0, true));
      this.graph = model.tables(2)[0]!;
      if (model.tables(2).length > 1) throw new Error("it has several graphs; export one of its signatures");
      this.tensors = this.graph.tables(0);
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

