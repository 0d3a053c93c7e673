// Bundles the page into dist/: two scripts, the files of public/, and LiteRT.js's WebAssembly. Models and samples come from
// tools/assets.py.
import { build } from "esbuild";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";

const RUNTIME = "node_modules/@litertjs/core";
const OUT = "dist";

const { version, license } = JSON.parse(await readFile(`${RUNTIME}/package.json`));
await rm(OUT, { recursive: true, force: true });
await mkdir(`${OUT}/wasm`, { recursive: true });
await build({
  entryPoints: { page: "src/page/main.ts", worker: "src/worker.ts" },
  outdir: OUT,
  bundle: true,
  minify: true,
  format: "iife", // a worker of this kind can load LiteRT.js's scripts, which are not modules
  target: "es2022",
  define: { LITERT_VERSION: JSON.stringify(version) },
  legalComments: "linked",
});
await cp("public", OUT, { recursive: true });
await cp(`${RUNTIME}/wasm`, `${OUT}/wasm`, { recursive: true });
await writeFile(
  `${OUT}/licenses.txt`,
  `This page includes LiteRT.js (@litertjs/core ${version}, ${license}): https://github.com/google-ai-edge/LiteRT\n` +
    "mobile-sr itself: Apache-2.0. The Apache licence: https://www.apache.org/licenses/LICENSE-2.0\n",
);
