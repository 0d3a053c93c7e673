// Where images come from: samples, files and the camera.

import { downscale, fromRgba, type Image } from "../image";
import { byId, make } from "./dom";

/** An image of any size. Only the part that is used becomes pixels: phones limit the size of a canvas. */
export interface Source {
  name: string;
  width: number;
  height: number;
  original: boolean; // a sample: it is reduced first and compared with the output
  read(top: number, left: number, height: number, width: number): Image;
}

export interface Input {
  lr: Image;
  hr: Image | null;
}

const MAX_OUTPUT = 100_000_000; // pixels

async function decoded(name: string, data: Blob | HTMLVideoElement, original: boolean): Promise<Source> {
  const bitmap = await createImageBitmap(data).catch(() => {
    throw new Error("not an image that this browser can read");
  });
  const read = (top: number, left: number, height: number, width: number): Image => {
    const canvas = make("canvas", { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true })!;
    context.fillStyle = "#fff"; // below transparent pixels
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, -left, -top);
    const { data: rgba } = context.getImageData(0, 0, width, height);
    if (rgba.at(-1) !== 255) throw new Error(`${name}: ${width}x${height} pixels are too many for this browser; choose a part`);
    return fromRgba(width, height, rgba);
  };
  return { name, width: bitmap.width, height: bitmap.height, original, read };
}

export async function fromFile(file: File): Promise<Source> {
  try {
    return await decoded(file.name, file, false);
  } catch (error) {
    throw new Error(`${file.name}: ${(error as Error).message}`);
  }
}

export interface Sample {
  name: string;
  file: string;
}

export async function sampleList(): Promise<Sample[]> {
  const response = await fetch("samples/samples.json");
  return response.ok ? ((await response.json()) as Sample[]) : [];
}

export async function fromSample({ name, file }: Sample): Promise<Source> {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file} cannot be read (${response.status})`);
  return decoded(name, await response.blob(), true);
}

/** Returns the network's input, and the original if the input was reduced from it. `side` is its largest side; 0: no limit. */
export function prepare(source: Source, reduce: boolean, side: number, scale: number): Input {
  const factor = reduce ? scale : 1;
  const limit = (length: number): number => Math.min(length - (length % factor), side ? side * factor : length);
  const [height, width] = [limit(source.height), limit(source.width)];
  const size = `${source.name}: ${source.width}x${source.height} pixels`;
  if (!height || !width) throw new Error(`${size} are too few`);
  if ((height * width * scale ** 2) / factor ** 2 > MAX_OUTPUT) throw new Error(`${size} are too many to upscale at once; choose a part`);
  const middle = (length: number, kept: number): number => Math.floor((length - kept) / 2);
  const part = source.read(middle(source.height, height), middle(source.width, width), height, width);
  return reduce ? { lr: downscale(part, scale), hr: part } : { lr: part, hr: null };
}

/** The camera's preview. */
export class Camera {
  private stream: MediaStream | null = null;
  private readonly video = byId<HTMLVideoElement>("video");

  async open(): Promise<void> {
    if (!navigator.mediaDevices?.getUserMedia) throw new Error("the camera needs HTTPS or localhost");
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      throw new Error(`the camera cannot be used (${(error as Error).message})`);
    }
    this.video.srcObject = this.stream;
    await this.video.play();
    byId("camera").hidden = false;
  }

  async take(): Promise<Source> {
    const source = await decoded("camera", this.video, false);
    this.close();
    return source;
  }

  close(): void {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = this.video.srcObject = null;
    byId("camera").hidden = true;
  }
}
