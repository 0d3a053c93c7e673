// The viewer: two images under a divider that a pointer, a finger or the keyboard moves, with zoom.

import { type Image, toRgba } from "../image";
import { byId } from "./dom";

const MAX_HEIGHT = 0.6; // of the window, for an image that is not enlarged

function draw(canvas: HTMLCanvasElement, image: Image): void {
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d")!;
  context.putImageData(new ImageData(toRgba(image), image.width, image.height), 0, 0);
  const [, , , opaque] = context.getImageData(image.width - 1, image.height - 1, 1, 1).data;
  if (!opaque) throw new Error(`this browser cannot show ${image.width}x${image.height} pixels; choose a part of the image`);
}

export class Viewer {
  private readonly scroll = byId("scroll");
  private readonly layers = byId("layers");
  private readonly left = byId<HTMLCanvasElement>("left");
  private readonly right = byId<HTMLCanvasElement>("right");
  private readonly handle = byId("handle");
  private readonly split = byId<HTMLInputElement>("split");
  private readonly zoom = byId<HTMLSelectElement>("zoom");
  private readonly side = byId<HTMLSelectElement>("side");
  private images: Record<string, Image> = {};

  constructor() {
    this.split.addEventListener("input", () => this.place());
    this.scroll.addEventListener("scroll", () => this.place());
    window.addEventListener("resize", () => this.resize());
    this.zoom.addEventListener("change", () => this.resize());
    this.side.addEventListener("change", () => this.show());
    const drag = (event: PointerEvent): void => {
      const start = Math.max(this.scroll.getBoundingClientRect().left, this.layers.getBoundingClientRect().left);
      this.split.value = String(Math.round((100 * (event.clientX - start)) / this.visible));
      this.place();
    };
    this.handle.addEventListener("pointerdown", (event) => {
      this.handle.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    this.handle.addEventListener("pointermove", (event) => {
      if (this.handle.hasPointerCapture(event.pointerId)) drag(event);
    });
    this.scroll.addEventListener("click", drag as EventListener);
  }

  /** Shows an SR output against other images of its size, by name. */
  set(sr: Image, others: Record<string, Image>): void {
    this.images = others;
    const chosen = this.side.value;
    this.side.replaceChildren(...Object.keys(others).map((name) => new Option(name, name)));
    if (chosen in others) this.side.value = chosen;
    draw(this.right, sr);
    byId("viewer").hidden = false;
    this.show();
    this.resize();
  }

  /** Width of the visible part in CSS pixels. */
  private get visible(): number {
    return Math.min(this.scroll.clientWidth, this.layers.clientWidth);
  }

  private show(): void {
    draw(this.left, this.images[this.side.value]!);
    byId("left-label").textContent = this.side.value;
    this.place();
  }

  private resize(): void {
    const zoom = this.zoom.value;
    const { width, height } = this.right;
    const fitting = Math.min(this.scroll.clientWidth, (MAX_HEIGHT * window.innerHeight * width) / height);
    this.layers.style.width = `${zoom === "fit" ? fitting : width * Number(zoom)}px`;
    this.place();
  }

  private place(): void {
    const at = Number(this.split.value) / 100;
    const x = this.scroll.scrollLeft + at * this.visible;
    this.left.style.clipPath = `inset(0 ${Math.max(this.layers.clientWidth - x, 0)}px 0 0)`;
    this.handle.style.left = `${x}px`;
    this.split.setAttribute("aria-valuetext", `${this.split.value} % ${this.side.value}, the rest model`);
  }
}
