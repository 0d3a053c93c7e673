"""Every module can be imported on Windows and macOS: modules and names that only POSIX or Linux has are optional."""

import subprocess
import sys

from tests.conftest import ROOT

# Hides what other systems lack from this project alone: asyncio and other libraries have variants for each system.
IMPORT_ALL = """
import asyncio, builtins, importlib, os, pkgutil, signal, subprocess, sys

import keras, tensorflow

import mobile_sr, mobile_sr.converters, mobile_sr.models

HIDDEN = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
original = builtins.__import__


def portable(name, globals=None, *args, **kwargs):
    if (globals or {}).get("__name__", "").startswith("mobile_sr") and name in HIDDEN:
        raise ImportError(f"no module named {name!r} on this system")
    return original(name, globals, *args, **kwargs)


builtins.__import__ = portable
for module, names in ((os, ("fork", "getuid", "killpg", "sched_getaffinity")), (signal, ("SIGKILL", "SIGHUP", "SIGALRM"))):
    for name in names:
        delattr(module, name)
for name in [name for name in sys.modules if name.startswith("mobile_sr")]:
    del sys.modules[name]
packages = ("mobile_sr", "mobile_sr.models", "mobile_sr.converters")
found = set(packages)
for package in packages:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)
        found.add(module.name)
print(len(found))
"""


def test_every_module_is_imported_without_posix():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    sources = {path.resolve() for folder in ("mobile_sr", "models", "converters") for path in (ROOT / folder).rglob("*.py")}
    assert int(done.stdout) == len(sources)
