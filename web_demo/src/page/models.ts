// The models to choose from: those of models.json, and files that the user opens.

import { type Facts, fromSidecar, unknown } from "../facts";
import { TFLiteFile } from "../flatbuffer";

const MAX_BYTES = 512 * 1024 ** 2;

export interface Model {
  facts: Facts;
  bytes(): Promise<Uint8Array>;
}

async function digest(bytes: Uint8Array): Promise<string | null> {
  if (!globalThis.crypto?.subtle) return null; // plain HTTP on a network
  const hash = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export interface Catalog {
  models: Model[];
  served: boolean; // by `mobile-sr serve`, which accepts results
}

export async function catalog(): Promise<Catalog> {
  const response = await fetch("models.json");
  if (!response.ok) throw new Error(`models.json cannot be read (${response.status})`);
  const { models, served } = (await response.json()) as { models: (Facts & { file: string })[]; served: boolean };
  return { served, models: models.map(({ file, ...facts }) => ({ facts, bytes: () => fetched(file, facts.sha256) })) };
}

async function fetched(file: string, sha256: string | null): Promise<Uint8Array> {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file} cannot be read (${response.status})`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const own = await digest(bytes);
  if (own && sha256 && own !== sha256) throw new Error(`${file} is damaged: its SHA-256 differs`);
  return bytes;
}

/** Opens files of the user: .tflite files, each with the sidecar of its name if that is among them. */
export async function opened(files: File[]): Promise<Model[]> {
  const models: Model[] = [];
  for (const file of files.filter((one) => one.name.endsWith(".tflite"))) {
    if (file.size > MAX_BYTES) throw new Error(`${file.name}: more than 512 MB`);
    const bytes = new Uint8Array(await file.arrayBuffer());
    const sha256 = await digest(bytes);
    let facts = unknown(file.name, bytes.length, sha256);
    try {
      new TFLiteFile(bytes);
      const sidecar = files.find((one) => one.name === file.name.replace(/tflite$/, "json"));
      if (sidecar && sha256) facts = fromSidecar(file.name, bytes.length, sha256, JSON.parse(await sidecar.text()));
    } catch (error) {
      throw new Error(`${file.name}: ${(error as Error).message}`);
    }
    models.push({ facts, bytes: async () => bytes });
  }
  if (!models.length) throw new Error(`${files.map((file) => file.name).join(", ") || "nothing"}: not a .tflite file`);
  return models;
}
