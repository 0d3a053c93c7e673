"""The wheel and the pinned requirements."""

import subprocess
import sys
import zipfile

import pytest

from mobile_sr.imaging.images import read_image, write_image
from tests.conftest import ROOT, make_image


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the tree without touching it."""
    import shutil

    source, out = tmp_path_factory.mktemp("source") / "project", tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns(".venv*", ".git", "demo_out", "build", "*.egg-info", "__pycache__", ".pytest_cache")
    shutil.copytree(ROOT, source, ignore=skip)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_claims_one_name_and_holds_the_zoo(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == {"mobile_sr"}
    for needed in (
        "models/xlsr.py",
        "converters/tflite/audit.py",
        "devices/arm64_counter.c",
        "evaluation/document.html",
        "evaluation/report.css",
        "evaluation/report.js",
        "zoo/xlsr_x3.npz",
        "zoo/xlsr_x3_uint8.tflite",
        "zoo/xlsr_x3.json",
    ):
        assert f"mobile_sr/{needed}" in names


@pytest.mark.slow
def test_the_wheel_upscales_in_an_empty_environment(wheel, tmp_path):
    """Installed without extras (from the package index): a PNG through the packaged uint8 model."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel], check=True)
    installed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "tensorflow" not in installed
    assert "keras" not in installed
    write_image(tmp_path / "in.png", make_image(50, 60))
    command = [python, "-m", "mobile_sr", "upscale", "in.png", "--model", "xlsr_x3:uint8", "--out", "out"]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert read_image(tmp_path / "out" / "in.png").shape == (150, 180, 3)
    needs_keras = subprocess.run(
        [*command[:5], "--model", "xlsr_x3", "--out", "out"], cwd=tmp_path, capture_output=True, text=True
    )
    assert needs_keras.returncode == 2
    assert "mobile-sr[train]" in needs_keras.stderr


def test_requirements_are_exact():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines[-1] == "-e ."
    assert all("==" in line for line in lines[:-1])
    assert not {"torch", "jax"} & {line.split("==")[0].lower() for line in lines}
