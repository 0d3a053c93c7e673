// Value ranges and channel order of a file without a record, measured on a sample image: the rules of
// mobile_sr/inference/model_io.py, with its margins.

import { type Facts, type Order, type Values } from "./facts";
import { difference, type Image, imresize } from "./image";

const MAX_BELOW_BICUBIC = 3; // dB
const MAX_ERROR = 255 ** 2 / 10 ** 1.5; // 15 dB: with a larger squared error the range is certainly wrong
const CLEARLY_BETTER = 2;
const CLEARLY_BETTER_ABOUT_GRAY = 5;
const CLEARLY_BETTER_FAR_FROM_BICUBIC = 8;
const CLEARLY_BGR = 1.12;

export interface Candidates {
  inputs: string[];
  outputs: string[];
  orders: Order[];
}

interface Trial extends Values {
  error: number; // mean squared error in levels
}

export interface Sample {
  lr: Image;
  hr: Image;
}

function meanSquaredError(a: Image, b: Image): number {
  const psnr = difference(a, b).psnr;
  return psnr === null ? 0 : 255 ** 2 / 10 ** (psnr / 10);
}

/** Selects the trial that is right. The first one has the preferred values. */
export function closest(trials: Trial[], near: number): Trial {
  const first = trials[0]!;
  const least = (some: Trial[]): Trial => some.reduce((a, b) => (b.error < a.error ? b : a));
  let chosen = least(trials.filter((trial) => trial.order === first.order));
  let factor = CLEARLY_BETTER;
  if (chosen.error > near) factor = CLEARLY_BETTER_FAR_FROM_BICUBIC;
  else if (chosen.range_in === "-1" && chosen.range_out === "-1" && first.error <= near) factor = CLEARLY_BETTER_ABOUT_GRAY;
  if (chosen.error > MAX_ERROR || first.error < factor * chosen.error) chosen = first;
  const others = trials.filter((trial) => trial.order !== first.order);
  const other = others.length ? least(others) : chosen;
  return other.error <= MAX_ERROR && CLEARLY_BGR * other.error < chosen.error ? other : chosen;
}

/** Determines the values of a network. `run` upscales the LR image with the given values. */
export async function measure(
  facts: Facts,
  candidates: Candidates,
  sample: Sample,
  scale: number,
  run: (image: Image, values: Values) => Promise<Image>,
): Promise<{ values: Values; measured: boolean; psnr: number | null; bicubic: number | null }> {
  const bicubic = scale === 1 ? sample.lr : imresize(sample.lr, scale);
  const bicubicError = meanSquaredError(bicubic, sample.hr);
  const near = bicubicError * 10 ** (MAX_BELOW_BICUBIC / 10);
  const trials: Trial[] = [];
  const evaluate = async (order: Order, inputs: string[], outputs: string[]): Promise<void> => {
    for (const range_in of inputs) {
      for (const range_out of outputs) {
        const values = { range_in, range_out, order };
        trials.push({ ...values, error: meanSquaredError(await run(sample.lr, values), sample.hr) });
      }
    }
  };
  const { inputs, outputs, orders } = facts.values
    ? { inputs: [facts.values.range_in], outputs: [facts.values.range_out], orders: [facts.values.order] }
    : candidates;
  await evaluate(orders[0]!, inputs, outputs);
  let chosen = closest(trials, near);
  if (orders.length > 1) {
    const known = chosen.error <= MAX_ERROR;
    await evaluate(orders[1]!, known ? [chosen.range_in] : inputs, known ? [chosen.range_out] : outputs);
    chosen = closest(trials, near);
  }
  const { error, ...values } = chosen;
  const psnr = (squared: number): number | null => (squared ? 10 * Math.log10(255 ** 2 / squared) : null);
  return { values, measured: trials.length > 1, psnr: psnr(error), bicubic: psnr(bicubicError) };
}
