// Where images come from: samples, files and the camera.

import { crop, downscale, fromRgba, type Image } from "../image";
import { byId, make } from "./dom";

export interface Source {
  name: string;
  image: Image;
  original: boolean; // a sample: it is reduced first and compared with the output
}

export interface Input {
  lr: Image;
  hr: Image | null;
}

const MAX_PIXELS = 50_000_000;

async function decoded(blob: Blob): Promise<Image> {
  const bitmap = await createImageBitmap(blob).catch(() => {
    throw new Error("not an image that this browser can read");
  });
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) throw new Error(`${width}x${height} pixels, more than 50 megapixels`);
  return pixels(bitmap, width, height);
}

function pixels(source: CanvasImageSource, width: number, height: number): Image {
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.fillStyle = "#fff"; // below transparent pixels
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0);
  return fromRgba(width, height, context.getImageData(0, 0, width, height).data);
}

export async function fromFile(file: File): Promise<Source> {
  try {
    return { name: file.name, image: await decoded(file), original: false };
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
  return { name, image: await decoded(await response.blob()), original: true };
}

/** Returns the network's input, and the original if the input was reduced from it. `side` is its largest side; 0: no limit. */
export function prepare(source: Source, reduce: boolean, side: number, scale: number): Input {
  const factor = reduce ? scale : 1;
  const limit = (length: number): number => Math.min(length - (length % factor), side ? side * factor : length);
  const { image } = source;
  const [height, width] = [limit(image.height), limit(image.width)];
  if (!height || !width) throw new Error(`${source.name}: ${image.width}x${image.height} pixels are too few`);
  const middle = (length: number, kept: number): number => Math.floor((length - kept) / 2);
  const part = crop(image, middle(image.height, height), middle(image.width, width), height, width);
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

  take(): Source {
    const { videoWidth, videoHeight } = this.video;
    const image = pixels(this.video, videoWidth, videoHeight);
    this.close();
    return { name: "camera", image, original: false };
  }

  close(): void {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = this.video.srcObject = null;
    byId("camera").hidden = true;
  }
}
