// Drives the page in a headless Chromium, for tests/test_web_demo.py and tools/screens.py.
// Usage: browser.mjs CHROMIUM URL OUT STEPS; STEPS is a JSON list of steps, see `actions`. Writes to OUT, prints JSON.
// WITHOUT_GPU in the environment leaves out the software GPU.
import { writeFile } from "node:fs/promises";
import puppeteer from "puppeteer-core";

const [executablePath, url, out, steps] = process.argv.slice(2);
const CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];
const GPU = process.env.WITHOUT_GPU ? ["--disable-gpu"] : ["--enable-unsafe-webgpu", "--enable-unsafe-swiftshader", "--use-webgpu-adapter=swiftshader"];
const browser = await puppeteer.launch({
  executablePath,
  args: ["--no-sandbox", "--ignore-certificate-errors", "--enable-features=Vulkan,WebGPU", `--user-data-dir=${out}/profile`, ...GPU, ...CAMERA],
});
const page = await browser.newPage();
page.setDefaultTimeout(60_000);
const problems = [];
page.on("pageerror", (error) => problems.push(String(error)));
page.on("console", (message) => {
  const ofRuntime = /^((INFO|WARNING|ERROR): |└|[IWE]\d{4} )/; // LiteRT.js logs there
  if (message.type() === "error" && !ofRuntime.test(message.text())) problems.push(message.text());
});

async function canvas(id, file) {
  const { width, height, data } = await page.$eval(`#${id}`, (element) => {
    const { width, height } = element;
    const rgba = element.getContext("2d").getImageData(0, 0, width, height).data;
    let text = "";
    for (let k = 0; k < rgba.length; k += 4) text += String.fromCharCode(rgba[k], rgba[k + 1], rgba[k + 2]);
    return { width, height, data: btoa(text) };
  });
  await writeFile(`${out}/${file}`, Buffer.from(data, "base64"));
  return [height, width, 3];
}

const actions = {
  // {do: "open", width, dark, query}: loads the page.
  async open({ width = 1200, height = 1000, dark = false, query = "" }) {
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }]);
    await page.goto(url + query);
    await page.waitForSelector("body[data-ready]");
  },
  // {do: "choose", input, files}: chooses files.
  async choose({ input, files }) {
    const element = await page.$(`#${input}`);
    await element.uploadFile(...files);
  },
  // {do: "upload", input, files}: chooses files and waits until the page names the first one.
  async upload({ input, files }) {
    await actions.choose({ input, files });
    await page.waitForFunction((text) => document.body.innerText.includes(text) || document.querySelector("#model").value === text,
      {}, files[0].split("/").pop());
  },
  // {do: "run", model, accelerator, part, runs}: upscales; returns sizes of the images, written to NAME_sr.bin and NAME_left.bin.
  async run({ name, model, accelerator = "cpu", part = "128", runs = 2 }) {
    if (model) await page.select("#model", model);
    await page.select("#part", part);
    await page.$eval("#runs", (element, value) => (element.value = value), runs);
    await page.click(`input[name=accelerator][value=${accelerator}]`);
    const before = await page.$$eval("#table tbody tr", (rows) => rows.length);
    await page.click("#run");
    await page.waitForFunction((count) => document.querySelectorAll("#table tbody tr").length > count, {}, before);
    const row = await page.$$eval("#table tbody tr", (rows) => [...rows.at(-1).cells].map((cell) => cell.textContent));
    await page.waitForFunction(() => !document.querySelector("#run").disabled);
    return { row, right: await canvas("right", `${name}_sr.bin`), left: await canvas("left", `${name}_left.bin`) };
  },
  // {do: "matrix"}: measures the models and accelerators that are chosen.
  async matrix() {
    await page.click("#matrix");
    await page.waitForFunction(() => document.querySelector("#matrix").disabled);
    await page.waitForFunction(() => !document.querySelector("#matrix").disabled);
    return page.$$eval("#chart .bar", (bars) => bars.length);
  },
  // {do: "camera"}: takes a photo with the browser's test camera; returns what the page says of it.
  async camera() {
    await page.click("#camera-open");
    await page.waitForFunction(() => document.querySelector("#video").videoWidth);
    await page.click("#camera-take");
    return page.$eval("#image-facts", (element) => element.textContent);
  },
  // {do: "name", text}: names the device.
  async name({ text }) {
    await page.$eval("#device", (element, value) => (element.value = value), text);
  },
  // {do: "download", button}: returns the text of a download.
  async download({ button }) {
    await page.evaluate(() => {
      URL.createObjectURL = (blob) => {
        window.downloaded = blob.text();
        return "#";
      };
      HTMLAnchorElement.prototype.click = () => undefined;
    });
    await page.click(`#${button}`);
    return page.evaluate(() => window.downloaded);
  },
  // {do: "slide", keys}: moves the divider with the keyboard; returns the clip before and after.
  async slide({ keys }) {
    const clip = () => page.$eval("#left", (element) => element.style.clipPath);
    const before = await clip();
    await page.focus("#split");
    for (const key of keys) await page.keyboard.press(key);
    return [before, await clip(), await page.$eval("#split", (element) => element.getAttribute("aria-valuetext"))];
  },
  // {do: "send"}: sends the results; returns what the page says.
  async send() {
    await page.click("#send");
    await page.waitForFunction(() => document.querySelector("#sent").textContent);
    return page.$eval("#sent", (element) => element.textContent);
  },
  // {do: "layout"}: what is wider than the window, unlabelled controls, and the browser's abilities.
  async layout() {
    return page.evaluate(() => ({
      wide: document.documentElement.scrollWidth > innerWidth,
      unlabelled: [...document.querySelectorAll("input, select, button, canvas, video")].filter((element) =>
        !element.labels?.length && !element.ariaLabel && !element.textContent.trim()).map((element) => element.id),
      threads: crossOriginIsolated,
      secure: isSecureContext,
    }));
  },
  // {do: "uncheck", names}: leaves accelerators out of the matrix.
  async uncheck({ names }) {
    for (const name of names) await page.$eval(`#matrix-accelerators [value=${name}]`, (box) => (box.checked = false));
  },
  // {do: "screen", file, selector, full}: takes a screenshot of the window, of the whole page, or of an element.
  async screen({ file, selector = "", full = false }) {
    await page.mouse.move(0, 0);
    await page.evaluate((wanted) => (wanted ? document.querySelector(wanted).scrollIntoView() : scrollTo(0, 0)), selector);
    await page.screenshot({ path: `${out}/${file}`, fullPage: full });
  },
  // {do: "fail"}: runs the chosen model, which fails; returns the error that is shown.
  async fail() {
    await page.click("#run");
    return actions.error();
  },
  // {do: "error"}: the error that is shown.
  async error() {
    await page.waitForFunction(() => !document.querySelector("#error").hidden);
    return page.$eval("#error", (element) => element.textContent);
  },
};

const results = [];
try {
  for (const step of JSON.parse(steps)) results.push((await actions[step.do](step)) ?? null);
  console.log(JSON.stringify({ results, problems }));
} catch (error) {
  const shown = await page.$eval("#error", (element) => element.textContent).catch(() => "");
  console.log(JSON.stringify({ results, problems, failed: String(error), shown }));
  process.exitCode = 1;
} finally {
  await browser.close();
}
