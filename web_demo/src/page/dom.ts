// Small helpers for the document.

export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** Makes an element with properties and children; text is never read as HTML. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Calls `open` with the files that are chosen in the input of a label or dropped on it. */
export function onFiles(label: HTMLElement, open: (files: File[]) => void): void {
  const input = label.querySelector("input")!;
  input.addEventListener("change", () => {
    open([...input.files!]);
    input.value = ""; // the same file can be chosen again
  });
  for (const event of ["dragover", "dragleave", "drop"] as const) {
    label.addEventListener(event, (e) => {
      e.preventDefault();
      label.classList.toggle("over", event === "dragover");
    });
  }
  label.addEventListener("drop", (event) => open([...(event.dataTransfer?.files ?? [])]));
}

export function download(name: string, type: string, content: BlobPart): void {
  const link = make("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
