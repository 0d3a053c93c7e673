import base64
import errno
import gc
import importlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from mobile_sr import backend, cli, load
from mobile_sr.cli import COMMANDS
from mobile_sr.commands import common
from mobile_sr.imaging.images import read_image, write_image
from mobile_sr.imaging.resize import imresize
from tests.conftest import make_image


def one_line(result, *parts):
    """Status 2 and a single line on standard error, without a traceback, that contains the parts."""
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 2, result
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("mobile-sr")
    for part in parts:
        assert str(part) in lines[0]


def modules_after(code):
    """The top-level modules that a fresh process has loaded after `code`."""
    code += "\nimport sys; print('MODULES', *sorted({m.partition('.')[0] for m in sys.modules}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return set(result.stdout.rpartition("MODULES")[2].split())


def test_help_is_light():
    code = "import sys; sys.argv = ['mobile-sr', '--help']\nfrom mobile_sr import cli\ntry: cli.run()\nexcept SystemExit: pass"
    assert not {"numpy", "keras", "tensorflow", "PIL", "ai_edge_litert"} & modules_after(code)


def test_upscaling_with_a_tflite_is_light(exported, photo, tmp_path):
    write_image(tmp_path / "in.png", photo)
    argv = ["mobile-sr", "upscale", str(tmp_path / "in.png"), "--model", str(exported / "tiny_uint8.tflite"), "--out"]
    code = f"import sys; sys.argv = {[*argv, str(tmp_path / 'out')]}\nfrom mobile_sr import cli\ntry: cli.run()\n"
    loaded = modules_after(code + "except SystemExit as e: assert not e.code")
    assert "ai_edge_litert" in loaded
    assert not {"keras", "tensorflow", "torch", "jax", "scipy", "skimage"} & loaded
    assert read_image(tmp_path / "out" / "in.png").shape == (288, 360, 3)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run_here, command):
    result = run_here(command, "--help")
    assert result.returncode == 0
    assert f"Example: mobile-sr {command}" in result.stdout


def test_upscale_folders_formats_and_alpha(run_here, tmp_path, photo):
    alpha = np.arange(photo[:, :, 0].size, dtype=np.uint8).reshape(photo.shape[:2]) // 2 + 1  # nothing is hidden
    write_image(tmp_path / "in" / "a.png", photo, alpha)
    write_image(tmp_path / "in" / "sub" / "b.jpg", photo)
    result = run_here("upscale", tmp_path / "in", "--model", "bicubic", "--scale", "2", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "a.png"), imresize(photo, 2))
    from mobile_sr.imaging.images import read_file

    np.testing.assert_array_equal(read_file(tmp_path / "out" / "a.png").alpha, imresize(alpha, 2))
    assert read_image(tmp_path / "out" / "sub" / "b.png").shape == (192, 240, 3)


def test_upscale_with_the_default_model_and_a_page(run_here, tmp_path, photo):
    for name in ("a<b>.png", "b.png"):
        write_image(tmp_path / "in" / name, photo[:40, :50])
    result = run_here("upscale", tmp_path / "in", "--out", tmp_path / "out", "--compare")
    assert result.returncode == 0, result.stderr
    assert result.stderr == "mobile-sr upscale: with chainsr_m_x3:uint8, the default; --model chooses another\n"
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "b.png"), load("chainsr_m_x3:uint8")(photo[:40, :50]))
    assert f"compare: {tmp_path / 'out' / 'compare.html'}" in result.stdout
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "a&lt;b&gt;.png" in page
    sources = re.findall(r'alt="b.png: (\S+)" src="data:image/png;base64,([^"]+)"', page)
    assert [label for label, _ in sources] == ["bicubic", "chainsr_m_x3:uint8"] * 2  # whole images, then crops
    whole = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for _, data in sources[:2]]
    np.testing.assert_array_equal(whole[0], imresize(photo[:40, :50], 3))
    np.testing.assert_array_equal(whole[1], read_image(tmp_path / "out" / "b.png"))
    result = run_here("upscale", tmp_path / "in" / "b.png", "--scale", "2", "--out", tmp_path / "big.png", "--compare")
    assert result.stderr.startswith("mobile-sr upscale: with chainsr_m_x2:uint8, the default")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.png", "big_compare.html", "in", "out"]


def test_progress_on_a_pipe_is_a_line_every_five_seconds(monkeypatch, capsys):
    now = iter([100.0, 103.0, 105.5, 106.0, 111.0, 50.0, 51.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    common.clear_progress()
    for count, name in enumerate("abcde", 1):
        common.progress(count, name)
    common.progress(1, "the next command")
    common.progress(2, "soon after")
    assert capsys.readouterr() == ("", "3 done: c\n5 done: e\n")


def test_good_files_of_a_folder_are_processed_beside_bad_ones(run_here, tmp_path, photo):
    write_image(tmp_path / "in" / "a.png", photo)
    write_image(tmp_path / "in" / "z.png", photo)
    (tmp_path / "in" / "bad.png").write_bytes(b"oops")
    (tmp_path / "in" / "empty.jpg").write_bytes(b"")
    result = run_here("upscale", tmp_path / "in", "--model", "bicubic", "--scale", "3", "--out", tmp_path / "out")
    assert result.returncode == 2
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == ["mobile-sr upscale"] * 2
    assert "bad.png" in result.stderr
    assert "empty.jpg" in result.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "z.png"]
    result = run_here(
        "evaluate", "--model", "bicubic", "--scale", "3", "--data", tmp_path / "in", "--json", tmp_path / "f.json"
    )
    assert result.returncode == 2
    assert [row["name"] for row in json.loads((tmp_path / "f.json").read_text())["images"]] == ["a.png", "z.png"]


def test_bad_input_is_reported_in_one_line(run_here, tmp_path, exported, photo):
    write_image(tmp_path / "ok.png", photo)
    (tmp_path / "cut.tflite").write_bytes((exported / "tiny_uint8.tflite").read_bytes()[:9000])
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("no weights")
    ok, out = tmp_path / "ok.png", tmp_path / "out"
    bicubic = ("--model", "bicubic", "--scale", "2")
    one_line(run_here(), "COMMAND")
    one_line(run_here("nosuch"), "nosuch")
    one_line(run_here("upscale", ok), "--out")
    assert "--scale 5: the default models have" in run_here("upscale", ok, "--scale", "5", "--out", out).stderr
    one_line(run_here("upscale", ok, "--model", "nosuch", "--out", out), "nosuch", "zoo")
    one_line(run_here("upscale", ok, "--model", "xlsr_x3:int4", "--out", out), "int4")
    one_line(run_here("upscale", ok, "--model", "bicubic", "--out", out), "--scale")
    one_line(run_here("upscale", ok, "--model", tmp_path / "cut.tflite", "--out", out), "cut.tflite")
    one_line(run_here("upscale", ok, "--model", tmp_path / "text.npz", "--out", out), "text.npz")
    one_line(run_here("upscale", ok, *bicubic, "--out", ok), "ok.png")
    one_line(run_here("upscale", ok, *bicubic, "--out", out, "--tile", "-1"), "--tile")
    one_line(run_here("upscale", ok, *bicubic, "--out", out, "--threads", "0"), "--threads")
    one_line(run_here("upscale", ok, ok, *bicubic, "--out", out), "overwrite")
    one_line(run_here("upscale", ok, *bicubic, "--out", tmp_path), "overwrite the input")
    one_line(run_here("upscale", tmp_path / "absent.png", *bicubic, "--out", tmp_path / "new"), "absent.png")
    one_line(run_here("upscale", tmp_path / "empty", *bicubic, "--out", out), "no image")
    one_line(run_here("evaluate", *bicubic), "--data")
    one_line(run_here("evaluate", *bicubic, "--data", tmp_path / "nowhere"), "nowhere")
    one_line(run_here("evaluate", *bicubic, "--data", tmp_path / "empty"), "no image")
    one_line(run_here("compare", "--reference", "bicubic", "--model", "x", "--scale", "2", "--data", tmp_path), "zoo")
    one_line(run_here("export", "--model", "nosuch", "--out", out), "nosuch")
    one_line(run_here("export", "--model", tmp_path / "text.npz", "--out", out, "--precision", "int3"), "int3", "uint8")
    one_line(run_here("export", "--model", tmp_path / "text.npz", "--out", out), "text.npz")
    one_line(run_here("export", "--model", "nosuch", "--out", out, "--height", "9"), "--width")
    one_line(run_here("inspect", "--model", tmp_path / "cut.tflite"), "cut.tflite")
    one_line(run_here("inspect", "--model", ok), "ok.png")
    one_line(run_here("train", "--recipe", "nosuch_x3", "--data", tmp_path, "--out", out), "nosuch_x3", "xlsr_x3")
    one_line(run_here("train", "--recipe", "xlsr_x3", "--data", tmp_path / "empty", "--out", out), "no image")
    one_line(run_here("train", "--recipe", "xlsr_x3", "--data", tmp_path, "--out", out, "--resume"), "no run to resume")
    assert not out.exists() or not list(out.iterdir())
    assert sorted(p.name for p in tmp_path.iterdir() if p.name not in ("out", "new")) == [
        "cut.tflite",
        "empty",
        "ok.png",
        "text.npz",
    ]


def test_data_comes_from_the_environment(run_here, image_folder):
    result = run_here("evaluate", "--model", "bicubic", "--scale", 2, "--json", "-", env={"MOBILE_SR_DATA": str(image_folder)})
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)["images"]) == 6


def test_degraded_evaluation(run_here, few_images, tmp_path):
    """The table, the JSON and the line have the amounts; a seed gives the same figures in `evaluate` and in `compare`."""
    common = ("--scale", 2, "--data", few_images, "--degrade", "noise=2..4,jpeg=50..60", "--seed", 5)
    result = run_here("evaluate", "--model", "bicubic", *common, "--json", tmp_path / "e.json")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["protocol"]["degradation"]["seed"] == 5
    assert "LR degraded by noise=2..4,jpeg=50..60 4:2:0, seed 5" in result.stdout
    for row in found["images"]:
        amounts = row["degradation"]
        assert f"noise {amounts['noise']:g}, JPEG {amounts['jpeg']}\n" in result.stdout
        assert row["psnr"] == row["bicubic_psnr"]
    compared = run_here("compare", "--reference", "bicubic", "--model", "bicubic", *common, "--json", tmp_path / "c.json")
    assert compared.returncode == 0, compared.stderr
    again = json.loads((tmp_path / "c.json").read_text())
    for row, same in zip(found["images"], again["images"], strict=True):
        assert (row["degradation"], row["psnr"]) == (same["degradation"], same["model_psnr"])
    assert again["protocol"] == found["protocol"]
    other = run_here("evaluate", "--model", "bicubic", *common[:-1], 6, "--json", "-")
    assert json.loads(other.stdout)["mean"] != found["mean"]
    for command in (("evaluate",), ("compare", "--reference", "bicubic")):
        words = (*command, "--model", "bicubic", "--scale", 2, "--data", few_images)
        one_line(run_here(*words, "--seed", 1), "--seed requires --degrade")
        one_line(run_here(*words, "--degrade", "jpeg=0"), "--degrade jpeg=0: jpeg=0: expected a value or MIN..MAX")
    layers = run_here("compare", "--reference", "bicubic", "--model", "bicubic", *common, "--layers")
    one_line(layers, "--layers measures on clean images; leave out --degrade")


def test_evaluate_json(run_here, image_folder, exported, tmp_path):
    model = exported / "tiny_uint8.tflite"
    result = run_here("evaluate", "--model", model, "--data", image_folder, "--space", "rgb", "--json", tmp_path / "f.json")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "f.json").read_text())
    assert set(found) == {"model", "protocol", "images", "mean", "bicubic", "skipped", "values", "sample"}
    assert found["mean"]["psnr"] == pytest.approx(np.mean([row["psnr"] for row in found["images"]]))
    assert found["protocol"]["space"] == "RGB"
    assert found["protocol"]["shave"] == 3
    assert f"{found['mean']['psnr']:.3f} dB" in result.stdout


def test_evaluate_several_models(run_here, few_images):
    models = ("xlsr_x3:uint8", "xlsr_x2:uint8")
    options = [word for model in models for word in ("--model", model)]
    result = run_here("evaluate", *options, "--data", few_images, "--json", "-")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)["models"]
    assert [entry["model"] for entry in found] == list(models)
    lines = result.stderr.splitlines()
    gain = found[0]["mean"]["psnr"] - found[0]["bicubic"]["psnr"]
    assert lines[0] == f"xlsr_x3:uint8: {gain:.3f} dB better than bicubic interpolation"
    for line, entry in zip(lines[-2:], found, strict=True):
        assert line.startswith(f"{entry['model']}  {entry['mean']['psnr']:>8.3f} dB")


def test_compare_limits_the_drop(run_here, few_images, exported, tmp_path):
    options = (
        "--reference",
        exported / "tiny_float32.tflite",
        "--model",
        exported / "tiny_uint8.tflite",
        "--data",
        few_images,
    )
    result = run_here("compare", *options, "--report", tmp_path / "r", "--json", tmp_path / "f.json")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "f.json").read_text())
    assert found["drop_db"] == pytest.approx(found["reference"]["psnr"] - found["model"]["psnr"])
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["report.html", "report.json", "report.md"]
    result = run_here("compare", *options, "--max-drop", found["drop_db"] - 0.001)
    assert result.returncode == 1
    assert "exceeds --max-drop" in result.stderr
    assert run_here("compare", *options, "--max-drop", found["drop_db"] + 0.001).returncode == 0


def test_equal_models_have_no_drop(run_here, tmp_path):
    write_image(tmp_path / "in" / "a.png", make_image(40, 40))
    options = ("--reference", "bicubic", "--model", "bicubic", "--scale", "2", "--data", tmp_path / "in")
    result = run_here("compare", *options, "--max-drop", "0", "--json", "-")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["drop_db"] == 0


def test_inspect_json(run_here, exported):
    result = run_here("inspect", "--model", exported / "tiny_uint8.tflite", "--json", "-")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["ops"]["CONV_2D"] == 11
    assert found["partitions"] == 1
    assert found["size_bytes"] == (exported / "tiny_uint8.tflite").stat().st_size
    assert set(found["inputs"][0]) == {"name", "dtype", "shape", "scale", "zero_point"}


def test_train_export_and_use_a_run(run_here, image_folder, tmp_path):
    """A small end-to-end run of the commands that a user runs.

    Processes of their own train and compare in test_kill.py, and export in test_foreign.py.
    """
    run, cache = tmp_path / "run", tmp_path / "cache"
    options = ("--smoke", "--set", "branches=none", "--steps", "6", "--data", image_folder, "--out", run, "--cache", cache)
    result = run_here("train", "--recipe", "espcn_x2", *options, "--backend", "tensorflow")
    assert result.returncode == 0, result.stderr
    assert "step 6/6" in result.stderr
    assert str(run / "best.npz") in result.stdout
    options = ("--out", tmp_path / "deploy", "--precision", "uint8", "--calibration", image_folder, "--methods", "equalize")
    result = run_here("export", "--model", run, *options)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "deploy" / "run_uint8.json").exists()
    files = ("--reference", run, "--model", tmp_path / "deploy" / "run_uint8.tflite")
    result = run_here("compare", *files, "--data", image_folder)
    assert result.returncode == 0, result.stderr


@pytest.fixture
def failing(monkeypatch):
    """Let `mobile-sr models` fail with an exception."""

    def fail(error):
        def run(args):
            raise error

        monkeypatch.setattr(importlib.import_module("mobile_sr.commands.models"), "run", run)

    return fail


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), "File name too long"),
        (OSError(errno.ENOSPC, "No space left on device"), "standard output cannot be written (No space left on device)"),
        (MemoryError(), "not enough memory; use smaller images"),
        (np._core._exceptions._ArrayMemoryError((9**9, 9**9), np.dtype("f4")), "not enough memory (Unable to allocate"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "in this encoding"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deep"),
        (ValueError("two\nlines"), "unexpected ValueError: two lines at test_cli.py:"),
    ],
)
def test_every_failure_is_reported_in_one_line(failing, run_here, monkeypatch, error, said):
    monkeypatch.setattr(cli, "_discard_stdout", lambda: None)
    failing(error)
    done = run_here("models")
    status, out, err = done.returncode, done.stdout, done.stderr
    assert status == 2
    assert not out
    assert err.startswith("mobile-sr models: ")
    assert err.count("\n") == 1
    assert said in err


def test_a_traceback_on_request(failing, capsys, monkeypatch):
    failing(ValueError("oops"))
    monkeypatch.setenv("MOBILE_SR_TRACEBACK", "1")
    with pytest.raises(ValueError, match="oops"):
        cli.main(cli._parse(["mobile-sr", "models"]))


def test_an_interrupt_while_the_commands_are_imported(run_here, monkeypatch):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.importlib, "import_module", interrupt)
    done = run_here("models")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nmobile-sr: interrupted\n")


def test_an_interrupt_while_the_command_line_is_imported(capsys, monkeypatch):
    from mobile_sr import __main__

    monkeypatch.setattr(cli, "run", lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit) as caught:
        __main__.run()
    assert caught.value.code == 130
    assert capsys.readouterr() == ("", "\nmobile-sr: interrupted\n")


def shell(words):
    """The CompletedProcess of a shell command line; "mobile-sr" is this environment's."""
    words = words.replace("mobile-sr", f"{sys.executable} -m mobile_sr")
    return subprocess.run(["bash", "-c", words], capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("words", ["models", "models --help", "models --json -"])
@pytest.mark.parametrize(("stdout", "reason"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")])
def test_standard_output_that_cannot_be_written(words, stdout, reason):
    result = shell(f"mobile-sr {words} {stdout}")
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("mobile-sr")
    assert last.endswith(f"standard output cannot be written ({reason})")
    assert "Traceback" not in result.stderr


def test_closed_and_full_standard_error():
    assert shell("mobile-sr nosuch 2>&-").returncode == 2
    assert shell("mobile-sr inspect --model nosuch 2>/dev/full").returncode == 2


def test_a_reader_that_closes_the_pipe():
    result = shell("set -o pipefail; mobile-sr models --json - | true")
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr


def test_names_that_the_terminal_cannot_display(tmp_path, photo):
    name = b"\xff\n\xc3\xa4.png"
    write_image(tmp_path / "a.png", photo[:24, :24])
    os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/" + name)
    line = f"PYTHONIOENCODING=ascii mobile-sr upscale {tmp_path}/*.png --model bicubic --scale 2 --out {tmp_path}/out"
    result = shell(line)
    assert (result.returncode, result.stderr) == (0, "")
    assert r"\xff\n\xe4.png" in result.stdout
    assert os.listdir(os.fsencode(tmp_path) + b"/out") == [name]


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["evaluate", "--model", "a", "--data", "x", "--data", "y"], "--data"),
        (["upscale", "a.png", "--model", "m", "--out", "x", "--out", "y"], "--out"),
        (["compare", "--reference", "a", "--reference=c", "--model", "b", "--data", "x"], "--reference"),
        (["train", "--recipe", "xlsr_x3", "--out", "o", "--steps", "3", "--step", "4"], "--steps"),
        (["upscale", "a.png", "--model", "m", "--out", "x", "--depth", "1", "--depth", "1"], "--depth"),
    ],
)
def test_an_option_given_twice(run_here, words, option):
    done = run_here(*words)
    status, err = done.returncode, done.stderr
    assert status == 2
    assert err.count("\n") == 1
    assert f"argument {option}: given more than once" in err


def test_options_that_may_be_repeated():
    words = [
        "mobile-sr",
        "train",
        "--recipe",
        "xlsr_x3",
        "--out",
        "o",
        "--set",
        "patch=8",
        "--set",
        "batch=2",
        "--smoke",
        "--smoke",
    ]
    for _ in range(2):  # parsers do not share the memory of options given
        assert cli._parse(words).set == ["patch=8", "batch=2"]


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (["upscal", "a.png"], "did you mean upscale?"),
        (["evaluate", "--model", "bicubic", "--sppace", "y"], "did you mean --space?"),
        (["export", "--model", "xlsr_x3", "--out", "o", "--path", "spars"], "did you mean sparse?"),
    ],
)
def test_similar_commands_options_and_choices_are_suggested(words, suggestion, capsys):
    with pytest.raises(SystemExit) as ended:
        cli._parse(["mobile-sr", *words])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert suggestion in line


@pytest.mark.slow
def test_an_interrupt_that_a_callback_swallowed_arrives_again(monkeypatch):
    """As in JAX, whose callback at garbage collections is Python code."""

    def interrupted(phase, info):
        gc.callbacks.remove(interrupted)
        raise KeyboardInterrupt

    def work():
        gc.collect()
        time.sleep(10)

    monkeypatch.setattr(sys, "unraisablehook", cli._interrupt_again)
    before = signal.signal(signal.SIGTERM, cli._stop)
    gc.callbacks.append(interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_bfloat16_is_slow_on_a_cpu_of_linux_without_amx_and_without_a_gpu(tmp_path):
    cpu = tmp_path / "cpuinfo"
    assert backend.is_bfloat16_fast(tmp_path, cpu)
    cpu.write_text("flags\t\t: fpu avx512f avx512_bf16\n")
    assert not backend.is_bfloat16_fast(tmp_path, cpu)
    (tmp_path / "nvidia0").touch()
    assert backend.is_bfloat16_fast(tmp_path, cpu)
    (tmp_path / "nvidia0").unlink()
    cpu.write_text("flags\t\t: fpu avx512f amx_bf16\n")
    assert backend.is_bfloat16_fast(tmp_path, cpu)
