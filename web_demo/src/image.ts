// Images, bicubic interpolation and metrics: mobile_sr/imaging/resize.py and metrics.py in the browser, with the same bytes.

/** [height, width, 3] levels of 0..255. */
export interface Image {
  width: number;
  height: number;
  data: Uint8Array;
}

export function fromRgba(width: number, height: number, rgba: Uint8ClampedArray): Image {
  const data = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; to < data.length; from += 4) {
    data[to++] = rgba[from]!;
    data[to++] = rgba[from + 1]!;
    data[to++] = rgba[from + 2]!;
  }
  return { width, height, data };
}

export function toRgba(image: Image): Uint8ClampedArray<ArrayBuffer> {
  const rgba = new Uint8ClampedArray(4 * image.width * image.height);
  for (let from = 0, to = 0; from < image.data.length; to += 4) {
    rgba[to] = image.data[from++]!;
    rgba[to + 1] = image.data[from++]!;
    rgba[to + 2] = image.data[from++]!;
    rgba[to + 3] = 255;
  }
  return rgba;
}

/** Returns a part of an image; the part must be inside. */
export function crop(image: Image, top: number, left: number, height: number, width: number): Image {
  const data = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    const start = 3 * ((top + y) * image.width + left);
    data.set(image.data.subarray(start, start + 3 * width), 3 * y * width);
  }
  return { width, height, data };
}

/** Returns the image with its edge pixels repeated to the right and below. */
export function padded(image: Image, height: number, width: number): Image {
  const data = new Uint8Array(3 * width * height);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = 3 * (Math.min(y, image.height - 1) * image.width + Math.min(x, image.width - 1));
      for (let c = 0; c < 3; c++) data[to++] = image.data[from + c]!;
    }
  }
  return { width, height, data };
}

function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x <= 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

function outLength(length: number, scale: number): number {
  return Math.ceil(Number((length * scale).toFixed(6)));
}

interface Taps {
  count: number;
  indices: Int32Array; // [out, count]
  weights: Float64Array;
}

function contributions(length: number, out: number, scale: number): Taps {
  const shrink = Math.min(scale, 1); // antialiasing: the kernel is stretched when an image is reduced
  const width = 4 / shrink;
  const count = Math.ceil(width) + 2;
  const indices = new Int32Array(out * count);
  const weights = new Float64Array(out * count);
  for (let k = 0; k < out; k++) {
    const center = (k + 1) / scale + 0.5 * (1 - 1 / scale);
    const left = Math.floor(center - width / 2);
    let total = 0;
    for (let tap = 0; tap < count; tap++) {
      const weight = shrink * cubic(shrink * (center - (left + tap)));
      weights[k * count + tap] = weight;
      indices[k * count + tap] = Math.min(Math.max(left + tap - 1, 0), length - 1);
      total += weight;
    }
    for (let tap = 0; tap < count; tap++) weights[k * count + tap]! /= total;
  }
  return { count, indices, weights };
}

function toByte(value: number): number {
  return Math.min(Math.max(Math.floor(value + 0.5), 0), 255);
}

/** MATLAB's imresize(image, scale, 'bicubic'): the vertical pass first, and each pass rounds to bytes. */
export function imresize(image: Image, scale: number): Image {
  const [height, width] = [outLength(image.height, scale), outLength(image.width, scale)];
  const rows = contributions(image.height, height, scale);
  const line = 3 * image.width;
  const tall = new Uint8Array(height * line);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < line; x++) {
      let sum = 0;
      for (let tap = y * rows.count; tap < (y + 1) * rows.count; tap++) {
        const weight = rows.weights[tap]!;
        if (weight) sum += weight * image.data[rows.indices[tap]! * line + x]!;
      }
      tall[y * line + x] = toByte(sum);
    }
  }
  const columns = contributions(image.width, width, scale);
  const data = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let tap = x * columns.count; tap < (x + 1) * columns.count; tap++) {
          const weight = columns.weights[tap]!;
          if (weight) sum += weight * tall[y * line + 3 * columns.indices[tap]! + c]!;
        }
        data[3 * (y * width + x) + c] = toByte(sum);
      }
    }
  }
  return { width, height, data };
}

/** The LR image of an HR image: sides cropped to multiples of the scale, then bicubic. */
export function downscale(hr: Image, scale: number): Image {
  const [height, width] = [hr.height - (hr.height % scale), hr.width - (hr.width % scale)];
  return imresize(crop(hr, 0, 0, height, width), 1 / scale);
}

export interface Difference {
  psnr: number | null; // in dB over all RGB values; null for equal images
  max: number; // largest difference of a value, in levels
  fraction: number; // of the values that differ
}

/** Compares two images of one size, without `shave` pixels of the border. */
export function difference(a: Image, b: Image, shave = 0): Difference {
  let [squares, max, count, total] = [0, 0, 0, 0];
  for (let y = shave; y < a.height - shave; y++) {
    for (let k = 3 * (y * a.width + shave); k < 3 * ((y + 1) * a.width - shave); k++) {
      const d = Math.abs(a.data[k]! - b.data[k]!);
      squares += d * d;
      total++;
      if (d) count++;
      if (d > max) max = d;
    }
  }
  return { psnr: squares ? 10 * Math.log10((255 * 255 * total) / squares) : null, max, fraction: total ? count / total : 0 };
}

// MATLAB's rgb2ycbcr, levels per unit: of metrics.BT601_Y.
const BT601 = [65.481, 128.553, 24.966];

/** Returns the Y of an image in levels, not rounded; black and white are the levels of its ends. */
export function luma(image: Image, black: number, white: number): Float32Array {
  const factor = (white - black) / (BT601[0]! + BT601[1]! + BT601[2]!) / 255;
  const weights = BT601.map((weight) => Math.fround(weight * factor));
  const y = new Float32Array(image.width * image.height);
  for (let k = 0, from = 0; k < y.length; k++, from += 3) {
    y[k] = image.data[from]! * weights[0]! + image.data[from + 1]! * weights[1]! + image.data[from + 2]! * weights[2]! + black;
  }
  return y;
}

/** PSNR in dB of the Y channel in 16..235, as mobile_sr computes it: Y is not rounded. Null for equal images. */
export function psnrY(a: Image, b: Image, shave: number): number | null {
  const [first, second] = [luma(a, 16, 235), luma(b, 16, 235)];
  let [squares, total] = [0, 0];
  for (let y = shave; y < a.height - shave; y++) {
    for (let k = y * a.width + shave; k < (y + 1) * a.width - shave; k++) {
      squares += (first[k]! - second[k]!) ** 2;
      total++;
    }
  }
  return squares ? 10 * Math.log10((255 * 255 * total) / squares) : null;
}
