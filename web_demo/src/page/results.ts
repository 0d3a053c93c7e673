// The runs so far: figures of the last one, table, chart, downloads, and the way to the computer.

import { ACCELERATOR_NAMES, type Outcome } from "../protocol";
import { chart, number } from "./chart";
import { byId, download, make, message } from "./dom";
import { csv, deviceName, report, type Row } from "./record";

const dash = "–";
const MAX_CHART = 760; // CSS pixels

function shown(value: number | null | undefined, format: (x: number) => string = number): string {
  return value === null || value === undefined ? dash : format(value);
}

const decibels = (value: number | null): string => (value === null ? "equal" : `${value.toFixed(2)} dB`);

export class Results {
  readonly rows: Row[] = [];
  private sent = 0;

  constructor(served: boolean) {
    const device = byId<HTMLInputElement>("device");
    void deviceName().then((name) => (device.value ||= name));
    const name = (): string => device.value.trim();
    const text = (rows = this.rows): string => JSON.stringify(report(name(), rows), null, 2);
    byId("json").addEventListener("click", () => download("mobile-sr.json", "application/json", text()));
    byId("csv").addEventListener("click", () => download("mobile-sr.csv", "text/csv", csv(name(), this.rows)));
    byId("share").addEventListener("click", () => void this.share(text(), csv(name(), this.rows)));
    byId("send").hidden = !served;
    byId("send").addEventListener("click", () => void this.send(text(this.rows.slice(this.sent)), this.rows.length));
  }

  add(row: Row): void {
    this.rows.push(row);
    const cells = [
      row.model,
      ACCELERATOR_NAMES[row.requested_accelerator],
      row.error ? `failed: ${row.error}` : `${row.effective_accelerator!.toUpperCase()}${row.fully_accelerated ? "" : " and CPU"}`,
      row.width ? `${row.width}x${row.height}` : dash,
      shown(row.load_ms),
      shown(row.first_ms),
      shown(row.latency_ms?.p50),
      shown(row.latency_ms?.p90),
      row.against_reference ? decibels(row.against_reference.psnr_y).replace(" dB", "") : dash,
      row.against_cpu ? decibels(row.against_cpu.psnr).replace(" dB", "") : dash,
      shown(row.against_cpu?.max_difference, String),
      shown(row.memory_bytes, (bytes) => (bytes / 1e6).toFixed(0)),
    ];
    const line = make("tr", { className: row.error ? "failed" : "" }, ...cells.map((text) => make("td", {}, text)));
    byId("table").querySelector("tbody")!.append(line);
    byId("chart").replaceChildren(...[chart(this.rows, Math.min(byId("chart").clientWidth, MAX_CHART))].filter((svg) => svg !== null));
    for (const id of ["json", "csv", "share", "send"]) byId<HTMLButtonElement>(id).disabled = false;
  }

  /** Shows the figures of one run. */
  show(row: Row, outcome: Outcome): void {
    const { window, windows } = outcome;
    const cards: [string, string][] = [
      [`${number(row.latency_ms!.p50)} ms`, `median of ${row.samples_ms.length} inferences of ${window[1]}x${window[0]}`],
      [`${number(row.latency_ms!.p90)} ms`, "90th percentile"],
      [`${number(row.first_ms!)} ms`, "first inference"],
      [`${number(row.load_ms!)} ms`, "load: compile the file"],
      [`${number(outcome.image_ms)} ms`, windows === 1 ? "whole image" : `whole image, ${windows} windows`],
      [`${(outcome.memory_bytes / 1e6).toFixed(0)} MB`, "WebAssembly memory"],
    ];
    const ran = row.effective_accelerator!.toUpperCase();
    const threads = ran === "CPU" ? `${outcome.threads} thread${outcome.threads === 1 ? "" : "s"}` : (outcome.gpu ?? "");
    cards.unshift([ran + (outcome.fully_accelerated ? "" : " and CPU"), `ran on${threads ? `: ${threads}` : ""}`]);
    const { against_reference: reference, against_cpu: cpu } = outcome;
    const levels = (value: number): string => `${value} level${value === 1 ? "" : "s"}`;
    if (reference) {
      cards.push([decibels(reference.psnr_y), "PSNR (Y) against the original"]);
      cards.push([decibels(reference.bicubic_psnr_y), "bicubic's PSNR (Y)"]);
      cards.push([levels(reference.max), "largest error against the original"]);
    }
    if (cpu) {
      cards.push([decibels(cpu.psnr), `PSNR (RGB) against the CPU; ${(100 * cpu.fraction).toPrecision(2)} % of values differ`]);
      cards.push([levels(cpu.max), "largest difference to the CPU"]);
    }
    byId("cards").replaceChildren(...cards.map(([figure, caption]) => card(figure, caption)));
    byId("notes").replaceChildren(...outcome.notes.map((note) => make("li", {}, note)));
  }

  private async share(json: string, table: string): Promise<void> {
    const file = new File([json], "mobile-sr.json", { type: "application/json" });
    try {
      if (navigator.canShare?.({ files: [file] })) await navigator.share({ files: [file], title: "mobile-sr" });
      else if (navigator.share) await navigator.share({ title: "mobile-sr", text: table });
      else {
        await navigator.clipboard.writeText(table);
        byId("sent").textContent = "Copied as CSV.";
      }
    } catch (error) {
      if ((error as Error).name !== "AbortError") byId("sent").textContent = `Not shared: ${message(error)}`;
    }
  }

  private async send(json: string, upTo: number): Promise<void> {
    const sent = byId("sent");
    if (this.sent === upTo) {
      sent.textContent = "All runs have been sent.";
      return;
    }
    try {
      const response = await fetch("results", { method: "POST", headers: { "Content-Type": "application/json" }, body: json });
      if (!response.ok) throw new Error((await response.text()).slice(0, 200));
      this.sent = upTo;
      sent.replaceChildren("Sent. ", make("a", { href: "report.html", target: "_blank", rel: "noopener" }, "Open the report"));
    } catch (error) {
      sent.textContent = `Not sent: ${message(error)}`;
    }
  }
}

function card(figure: string, caption: string): HTMLElement {
  return make("div", { className: "card" }, make("b", {}, figure), make("span", {}, caption));
}
