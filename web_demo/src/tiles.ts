// The windows in which a large image is upscaled: mobile_sr/inference/tiles.py in the browser.

export interface Span {
  start: number; // of the window
  from: number; // start and end of the inner part
  to: number;
}

export interface Tile {
  rows: Span;
  columns: Span;
}

function axis(length: number, window: number, overlap: number): Span[] {
  const side = Math.min(window, length);
  const step = side - 2 * overlap;
  if (side < length && step < 1) throw new Error(`a tile of ${side} pixels is too small for an overlap of ${overlap} on each side`);
  const count = side === length ? 1 : Math.ceil((length - 2 * overlap) / step);
  const spans: Span[] = [];
  let from = 0;
  for (let k = 0; k < count; k++) {
    const start = Math.min(k * step, length - side);
    const to = k === count - 1 ? length : start + side - overlap;
    spans.push({ start, from, to });
    from = to;
  }
  return spans;
}

/** Cuts an image of (height, width) into windows of one size, whose inner parts cover it. All numbers are LR pixels. */
export function planTiles(size: [number, number], window: [number, number], overlap: number): Tile[] {
  const columns = axis(size[1], window[1], overlap);
  return axis(size[0], window[0], overlap).flatMap((rows) => columns.map((column) => ({ rows, columns: column })));
}
