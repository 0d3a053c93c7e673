"""Uses damaged files in a child process with limited memory and time.

python -m tests.fuzz.child KIND FIRST STOP SECONDS FILE...
"""

import contextlib
import os
import random
import resource
import shutil
import signal
import sys
from pathlib import Path

import numpy as np

from mobile_sr.inference import trial
from tests.conftest import make_image, smoke_recipe
from tests.fuzz import mutations

MEMORY_BYTES = 2 * 1024**3  # on top of what the child needs for undamaged files
# Of the run folders: a network of three layers, which are quickly built again.
RUN_RECIPE = {"name": "espcn_x3", "steps": 2, "validate_every": 2, "branches": "none"}


def use_image(path):
    from mobile_sr.imaging.images import is_gray_file, read_file

    file = read_file(path)
    image, alpha = file.pixels, file.alpha
    assert image.dtype == np.uint8
    assert image.shape[2:] == (3,)
    assert alpha is None or alpha.shape == image.shape[:2]
    is_gray_file(path)


def use_arrays(path):
    from mobile_sr.inference import weights

    arrays, meta = weights.read_arrays(path)
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    assert isinstance(meta, dict)


def use_weights(path):
    from mobile_sr.inference import weights

    model, config = weights.load_model(path)
    assert model.count_params() > 10_000
    assert 1 <= config["scale"] <= weights.MAX_SCALE


def use_model(path):
    import mobile_sr

    upscaler = mobile_sr.load(path)
    sr = upscaler(make_image(20, 30))
    assert sr.dtype == np.uint8
    assert sr.shape == (20 * upscaler.scale, 30 * upscaler.scale, 3)


def use_network(path):
    if path.suffix == ".npz":
        use_weights(path)
    else:
        use_model(path)


def use_sidecar(path):
    import mobile_sr
    from mobile_sr import zoo
    from mobile_sr.evaluation import compare

    file = path.with_suffix(".tflite")
    if not file.exists():
        file.write_bytes(zoo.resolve("xlsr_x3:uint8").read_bytes())
    mobile_sr.load(file)
    compare.inspect(file)


def forked_attempt(data, threads=1):
    """`trial.attempt` by a fork: this process has no threads, and need not load the runtime again for every case."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            trial.invoke(data, threads)
        os._exit(0)
    return trial.explain(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def use_trap(path):
    """Failures that the harness must detect."""
    what = path.read_bytes()
    if what == b"raise":
        raise KeyError("oops")
    if what == b"crash":
        signal.raise_signal(signal.SIGSEGV)
    if what == b"hang":
        signal.pause()
    if what == b"bomb":
        bytearray(2 * MEMORY_BYTES)


def use_run(path):
    """Resume the finished run in the folder `run` with its config.json, or its only checkpoint, replaced by `path`."""
    from mobile_sr.training import train_loop

    out = Path("resumed")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree("run", out)
    (out / "checkpoint.previous.npz").unlink()
    shutil.copyfile(path, out / ("config.json" if path.suffix == ".json" else "checkpoint.npz"))
    assert train_loop.train(smoke_recipe(**RUN_RECIPE), Path("images"), out, resume=True, cache=Path("cache")) > 0


KINDS = {
    "images": (mutations.damage_bytes, use_image),
    "npz": (mutations.damage_bytes_or_member, use_arrays),
    "networks": (mutations.damage_network, use_network),
    "tflite bytes": (mutations.damage_bytes, use_model),
    "tflite fields": (mutations.damage_fields, use_model),
    "tflite tensors": (mutations.damage_tensors, use_model),
    "sidecars": (mutations.damage_sidecar, use_sidecar),
    "run folders": (mutations.damage_run, use_run),
    "onnx bytes": (mutations.damage_bytes, use_model),
    "trap": (lambda data, rng: data, use_trap),
}


def child(kind, first, stop, limit_s, *files):
    """Run the mutation of every seed. Each seed is printed before its run, and again with the error if it fails."""
    from mobile_sr.errors import UserError

    mutate, use = KINDS[kind]
    trial.attempt = forked_attempt
    files = [Path(file) for file in files]
    use(files[0])
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES,) * 2)
    for seed in range(int(first), int(stop)):
        print(seed, flush=True)
        file = files[seed % len(files)]
        path = Path("damaged" + file.suffix)
        path.write_bytes(mutate(file.read_bytes(), random.Random(f"{kind} {seed}")))
        signal.alarm(int(limit_s))  # ends the process, also inside native code
        try:
            use(path)
        except UserError:
            pass
        except BaseException as error:
            print(seed, f"{file.name}: {error!r}", flush=True)
        signal.alarm(0)


if __name__ == "__main__":
    child(*sys.argv[1:])
