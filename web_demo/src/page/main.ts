// The page: choices, runs and their display.

import { type Image, toRgba } from "../image";
import { findScale } from "../network";
import { type Accelerator, ACCELERATOR_NAMES, ACCELERATORS, type Outcome } from "../protocol";
import { byId, make, message, onFiles } from "./dom";
import { Engine, unavailable } from "./engine";
import { Camera, fromFile, fromSample, prepare, type Sample, sampleList, type Source } from "./images";
import { catalog, type Model, opened } from "./models";
import { failedRow, rowOf } from "./record";
import { Results } from "./results";
import { Viewer } from "./viewer";

const engine = new Engine();
const viewer = new Viewer();
const camera = new Camera();
const models: Model[] = [];
let results: Results;
let source: Source;
let photo: Image; // on which the values of unknown files are measured
let stopped = false;
let shownOutput: Image | null = null;

const select = byId<HTMLSelectElement>("model");

function addModel(model: Model): void {
  const taken = models.some((other) => other.facts.name === model.facts.name);
  if (taken) model.facts = { ...model.facts, name: `${model.facts.name} (${models.length + 1})` };
  models.push(model);
  const { name } = model.facts;
  select.add(new Option(name, name));
  const box = make("input", { type: "checkbox", value: name, checked: name.includes("xlsr_x3") });
  byId("matrix-models").append(make("label", {}, box, name));
}

function chosenModel(): Model {
  const model = models.find(({ facts }) => facts.name === select.value);
  if (!model) throw new Error("no model; open a .tflite file");
  return model;
}

function showFacts(): void {
  const { facts } = chosenModel();
  const scale = facts.scale ? `x${facts.scale}` : "scale not known yet";
  byId("model-facts").textContent = `${scale}, ${facts.size_bytes.toLocaleString("en")} bytes`;
}

function useSource(next: Source): void {
  source = next;
  byId("image-facts").textContent = `${next.name}: ${next.width}x${next.height}`;
}

function showError(error: unknown): void {
  byId("error").hidden = false;
  byId("error").textContent = message(error);
}

/** Runs an action of the user and shows its error. */
async function attempt(action: () => unknown): Promise<void> {
  byId("error").hidden = true;
  try {
    await action();
  } catch (error) {
    showError(error);
  }
}

function addAccelerators(): void {
  for (const accelerator of ACCELERATORS) {
    const why = unavailable(accelerator);
    const common = { value: accelerator, disabled: why !== null };
    const note = make("span", { className: "why" }, why ? `(${why})` : "");
    const radio = make("input", { type: "radio", name: "accelerator", checked: accelerator === "cpu", ...common });
    byId("accelerators").append(make("label", {}, radio, ACCELERATOR_NAMES[accelerator], note));
    const box = make("input", { type: "checkbox", checked: why === null && accelerator !== "gpu_fp32", ...common });
    byId("matrix-accelerators").append(make("label", {}, box, ACCELERATOR_NAMES[accelerator], note.cloneNode(true)));
  }
}

function addSamples(samples: Sample[]): void {
  for (const [k, sample] of samples.entries()) {
    const radio = make("input", { type: "radio", name: "sample", value: sample.name, checked: k === 0 });
    radio.addEventListener("change", () => void attempt(async () => useSource(await fromSample(sample))));
    byId("samples").append(make("label", {}, radio, make("img", { src: sample.file, alt: "" }), make("span", {}, sample.name)));
  }
}

function unselectSamples(): void {
  byId("samples").querySelectorAll("input").forEach((radio) => (radio.checked = false));
}

function busy(is: boolean, pressed: Element | null): void {
  for (const id of ["run", "matrix"]) byId<HTMLButtonElement>(id).disabled = is;
  byId("stop").hidden = byId("progress").hidden = !is;
  if (!is && document.activeElement === document.body) (pressed as HTMLElement | null)?.focus({ preventScroll: true });
}

/** Says that the runs have ended, and shows the result where it is below the controls. */
function finish(outcome: Outcome | null): void {
  byId("status").textContent = stopped ? "Stopped." : outcome ? "Done. The result follows the controls." : "";
  const narrow = byId("output").getBoundingClientRect().left < byId("controls").getBoundingClientRect().right;
  if (outcome && narrow) byId("viewer-section").scrollIntoView();
}

/** Runs one model on one accelerator; returns null if it failed, which is recorded. */
async function runOne(model: Model, accelerator: Accelerator): Promise<Outcome | null> {
  const { name } = model.facts;
  try {
    const bytes = await model.bytes();
    const progress = (done: number, of: number, what: string): void => {
      byId<HTMLProgressElement>("progress").value = done / of;
      const text = `${name}, ${ACCELERATOR_NAMES[accelerator]}: ${what}`;
      if (byId("status").textContent !== text) byId("status").textContent = text;
    };
    const scale = model.facts.scale ?? findScale(bytes);
    const facts = { ...model.facts, scale };
    const reduce = source.original || byId<HTMLInputElement>("reduce").checked;
    const input = prepare(source, reduce, Number(byId<HTMLSelectElement>("part").value), scale);
    const runs = Math.min(Math.max(Math.round(Number(byId<HTMLInputElement>("runs").value)) || 10, 1), 200);
    const job = { bytes, facts, image: input.lr, reference: input.hr, photo, accelerator, runs };
    const outcome = await engine.run(job, progress);
    model.facts = outcome.facts;
    const row = rowOf(model.facts, accelerator, outcome);
    results.add(row);
    results.show(row, outcome);
    shownOutput = outcome.sr;
    viewer.set(outcome.sr, { bicubic: outcome.bicubic, ...(input.hr ? { original: input.hr } : {}) });
    byId("right-label").textContent = name;
    byId("empty").hidden = true;
    showFacts();
    return outcome;
  } catch (error) {
    if (!stopped) {
      results.add(failedRow(model.facts, accelerator, message(error)));
      showError(`${name}: ${message(error)}`);
    }
    return null;
  }
}

function checked(id: string): string[] {
  return [...byId(id).querySelectorAll("input:checked")].map((box) => (box as HTMLInputElement).value);
}

async function runSeveral(chosen: Model[], accelerators: Accelerator[]): Promise<void> {
  if (!chosen.length || !accelerators.length) throw new Error("choose at least one model and one accelerator");
  stopped = false;
  const pressed = document.activeElement;
  let outcome: Outcome | null = null;
  busy(true, pressed);
  for (const accelerator of accelerators) {
    for (const model of chosen) if (!stopped) outcome = (await runOne(model, accelerator)) ?? outcome;
  }
  busy(false, pressed);
  if (accelerators.length * chosen.length === 1 || stopped) finish(outcome);
  else byId("status").textContent = "Done. The chart and the table have all runs.";
}

function listen(): void {
  byId("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    const accelerator = document.querySelector<HTMLInputElement>("input[name=accelerator]:checked")!.value as Accelerator;
    void attempt(() => runSeveral([chosenModel()], [accelerator]));
  });
  byId("matrix").addEventListener("click", () => {
    const names = checked("matrix-models");
    const chosen = models.filter(({ facts }) => names.includes(facts.name));
    void attempt(() => runSeveral(chosen, checked("matrix-accelerators") as Accelerator[]));
  });
  byId("stop").addEventListener("click", () => {
    stopped = true;
    engine.stop();
  });
  select.addEventListener("change", showFacts);
  onFiles(byId("model-drop"), (files) => void attempt(async () => {
    const added = await opened(files);
    added.forEach(addModel);
    select.value = added[0]!.facts.name;
    showFacts();
  }));
  onFiles(byId("image-drop"), (files) => void attempt(async () => {
    if (!files[0]) return;
    useSource(await fromFile(files[0]));
    unselectSamples();
  }));
  byId("camera-open").addEventListener("click", () => void attempt(() => camera.open()));
  byId("camera-close").addEventListener("click", () => camera.close());
  byId("camera-take").addEventListener("click", () => void attempt(async () => {
    useSource(await camera.take());
    unselectSamples();
  }));
  byId("save").addEventListener("click", () => void attempt(save));
}

async function save(): Promise<void> {
  const { width, height } = shownOutput!;
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d")!.putImageData(new ImageData(toRgba(shownOutput!), width, height), 0, 0);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve));
  const link = make("a", { href: URL.createObjectURL(blob!), download: "output.png" });
  link.click();
}

/** Applies ?model=, ?sample= and ?accelerator= of the address. */
function applyAddress(): void {
  const wanted = new URLSearchParams(location.search);
  const model = wanted.get("model");
  if (models.some(({ facts }) => facts.name === model)) select.value = model!;
  for (const name of ["accelerator", "sample"]) {
    const radios = document.querySelectorAll<HTMLInputElement>(`input[name=${name}]`);
    const radio = [...radios].find(({ value, disabled }) => value === wanted.get(name) && !disabled);
    radio?.click();
  }
}

async function start(): Promise<void> {
  addAccelerators();
  listen();
  const [{ models: known, served }, samples] = await Promise.all([catalog(), sampleList()]);
  results = new Results(served);
  known.forEach(addModel);
  addSamples(samples);
  const first = await fromSample(samples[0]!);
  photo = first.read(0, 0, first.height, first.width);
  useSource(first);
  applyAddress();
  if (models.length) showFacts();
  document.body.dataset.ready = "true";
}

void attempt(start);
