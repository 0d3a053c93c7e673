"""Screenshots of the page for docs/guide/browser.md: 400 and 1400 pixels wide, light and dark. Usage: screens.py OUT.

Needs the built page (`make web`), Node.js and Chromium. The page is cut at the height of the window.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from PIL import Image

from mobile_sr.serving import server, site, store

WEB = Path(__file__).resolve().parents[1]
SIZES = {400: 1500, 1400: 1080}  # width: height
MODELS = ("xlsr_x3:uint8", "xlsr_x3:float32", "abpn_x3:uint8")


def steps(width, dark):
    """The steps of test/browser.mjs for one screen."""
    yield {"do": "open", "width": width, "height": SIZES[width], "dark": dark, "query": "?sample=coffee"}
    yield {"do": "run", "name": "screen", "model": "xlsr_x3:uint8", "part": "128", "runs": 10}
    yield {"do": "uncheck", "names": ["gpu"]}
    yield {"do": "matrix"}
    yield {"do": "run", "name": "screen", "model": "xlsr_x3:uint8", "part": "128", "runs": 10}
    yield {"do": "screen", "file": f"{width}_{'dark' if dark else 'light'}.png", "selector": "#output" if width == 400 else ""}


def main(out):
    """Serve the page, take the screenshots and write them as JPEG files, which are small."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder:
        content = site.build(WEB / "dist", MODELS)
        with server.PageServer(("127.0.0.1", 0), "token", content, store.Store(Path(folder) / "results")) as page:
            threading.Thread(target=page.serve_forever, daemon=True).start()
            plan = [step for width in SIZES for dark in (False, True) for step in steps(width, dark)]
            command = ["node", "test/browser.mjs", browser, f"http://localhost:{page.port}/token/", folder, json.dumps(plan)]
            subprocess.run(command, cwd=WEB, check=True)
            page.shutdown()
        for file in sorted(Path(folder).glob("*.png")):
            Image.open(file).convert("RGB").save(Path(out) / f"browser_{file.stem}.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
