"""docs/guide/own_photos.md, its commands, run on synthetic photos with few steps."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from mobile_sr.imaging.images import write_image
from tests.conftest import make_image

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "own_photos.md"
STEPS = 20


def commands():
    """The commands of the page's blocks."""
    return [line for block in re.findall(r"```\n(.*?)```", PAGE.read_text(), re.S) for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """photos/ with 30 images and held_out/ with two."""
    folder = tmp_path_factory.mktemp("own")
    for k in range(32):
        write_image(folder / ("photos" if k < 30 else "held_out") / f"photo{k}.jpg", make_image(300 + k, 320 - k, seed=k))
    return folder


@pytest.mark.slow
def test_walk_through(run_cli, folder):
    """All commands but those that need a phone or build the app (make test-android builds it)."""
    ran = []
    for command in commands():
        program, *arguments = shlex.split(command)
        if program == "make" or "--device" in arguments:
            continue
        assert program == "mobile-sr"
        if arguments[0] == "train":
            arguments[arguments.index("--steps") + 1] = STEPS
            arguments += ["--cache", folder / "cache", "--backend", "tensorflow"]
        done = run_cli(*arguments, cwd=folder)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        ran.append(arguments[0])
    assert ran == ["train", "export", "compare", "compare"]
    config = json.loads((folder / "runs" / "mine" / "config.json").read_text())
    assert (config["data"]["images"], len(config["data"]["held_out"])) == (30, 8)
    assert (folder / "report" / "report.html").stat().st_size > 10_000
    assert (folder / "report_before_after" / "report.json").exists()


def test_apk_refuses_what_is_no_model(tmp_path):
    script = Path(__file__).parents[1] / "android_demo" / "tools" / "apk.sh"
    done = subprocess.run([script, tmp_path, tmp_path / "x.apk", "nowhere.tflite"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "apk.sh: nowhere.tflite: no such .tflite file\n"
