"""A stand-in for adb and the phone behind it: run as a program it is adb, `Phone(folder).adb(words)` is the same in-process.

The phone is the folder $FAKE_PHONE: state.json, and root/ with its files. Its shell is this machine's, so that quoting is real.
The texts and statuses of a missing device were taken from adb 29 itself. state["faults"] says what goes wrong:

    install: text of the Failure         full: pushing finds no room          lost: "push", "start", "poll" or "cat"
    external: the shell may not see it   run_as: its refusal                  refuse: {delegate: reason in the log}
    crash: {delegate: crash log}         hang: [delegates]                    damage: {delegate: how}
    polls: looks at the log before it ends                                    dead_cat: the result vanishes
"""

import hashlib
import json
import os
import shlex
import struct
import subprocess
import sys
from pathlib import Path

PACKAGE = "org.mobilesr.demo"
EXTERNAL = f"sdcard/Android/data/{PACKAGE}/files"
INTERNAL = f"data/data/{PACKAGE}"
PROPERTIES = {
    "ro.product.model": "Pixel 8",
    "ro.product.manufacturer": "Google",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.hardware": "shiba",
}
FRESH = {"faults": {}, "pid": None, "next_pid": 4710, "polls_left": 0, "commands": [], "intents": [], "log": [], "crashes": []}


class Phone:
    """Every command gives (status, output, errors)."""

    def __init__(self, folder):
        self.folder, self.root = Path(folder), Path(folder) / "root"

    def read(self):
        return json.loads((self.folder / "state.json").read_text())

    def write(self, state):
        (self.folder / "state.new").write_text(json.dumps(state))
        (self.folder / "state.new").replace(self.folder / "state.json")  # whole, for a test that looks on

    def adb(self, words):
        self.state = self.read()
        self.faults = self.state["faults"]
        self.state["commands"].append(words)
        try:
            return self._command(words)
        finally:
            self.write(self.state)

    def _command(self, words):
        if words[0] == "devices":
            lines = [f"{serial:<22} {what}\n" for serial, what in self.state["devices"]]
            return 0, "List of devices attached\n" + "".join(lines) + "\n", self.state.get("daemon", "")
        serial, command, words = words[1], words[2], words[3:]
        if self.faults.get("lost", "never") == _step(command, words):
            self.state["devices"] = []
            if command == "push":
                (self.root / words[1].lstrip("/")).write_bytes(b"half")
        known = {name: what.split(" ")[0] for name, what in self.state["devices"]}
        if serial not in known:
            before = "adb: error: failed to get feature set:" if command in ("push", "install") else "error:"
            return 1, "", f"{before} device '{serial}' not found\n"
        if known[serial] != "device":
            return 1, "", f"error: device {known[serial]}\n"
        return {
            "get-state": lambda words: (0, "device\n", ""),
            "push": self._push,
            "install": self._install,
            "shell": self._shell,
        }[command](words)

    def _push(self, words):
        data, target = Path(words[0]).read_bytes(), self.root / words[1].lstrip("/")
        if self.faults.get("full"):
            target.write_bytes(data[:100])
            reason = "remote write failed: No space left on device"
            return 1, "", f"adb: error: failed to copy '{words[0]}' to '{words[1]}': {reason}\n"
        target.write_bytes(data)
        return 0, f"{words[0]}: 1 file pushed, 0 skipped. 31.2 MB/s ({len(data)} bytes in 0.001s)\n", ""

    def _install(self, words):
        started = "Performing Streamed Install\n"
        if self.faults.get("install"):
            return 1, started, f"adb: failed to install {words[-1]}: Failure [{self.faults['install']}]\n"
        self.state["packages"][PACKAGE] = self.state["apk_version"]
        return 0, started + "Success\n", ""

    def _shell(self, words):
        script = " ".join(words)
        name, *words = shlex.split(script)
        tool = getattr(self, "_" + name.replace("-", "_"), None)
        if tool:
            return tool(words)
        if self.faults.get("external") and f"/{EXTERNAL}" in script:
            return 1, "", f"{name}: /sdcard/Android/data: Permission denied\n"
        return self._run(["/bin/sh", "-c", self._place(script)], self.root)

    def _place(self, text):
        for place in ("/sdcard/", "/data/local/tmp/"):
            text = text.replace(place, f"{self.root}{place}")
        return text

    def _run(self, command, folder):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
        return done.returncode, done.stdout, done.stderr

    def _run_as(self, words):
        if words[0] not in self.state["packages"]:
            return 1, "", f"run-as: unknown package: {words[0]}\n"
        if self.faults.get("run_as"):
            return 1, "", f"run-as: {self.faults['run_as']}\n"
        return self._run([self._place(word) for word in words[1:]], self.root / INTERNAL)

    def _dumpsys(self, words):
        if words == ["thermalservice"]:  # one status for each look; then it has cooled down
            left = self.state.get("thermal_statuses", [])
            return 0, f"IsStatusOverride: false\nThermal Status: {left.pop(0) if left else 0}\n", ""
        version = self.state["packages"].get(words[1])
        if version is None:
            return 0, f"Unable to find package: {words[1]}\n", ""
        lines = f"  Package [{words[1]}] (5c0a3f1):\n    userId=10345\n    versionCode={version} minSdk=26 targetSdk=34\n"
        return 0, f"Packages:\n{lines}    versionName=1.0\n", ""

    def _getprop(self, words):
        properties = {**PROPERTIES, **self.state.get("properties", {})}
        return 0, "".join(f"[{key}]: [{value}]\n" for key, value in properties.items()), ""

    def _pidof(self, words):
        return (0, f"{self.state['pid']}\n", "") if self.state["pid"] else (1, "", "")

    def _logcat(self, words):
        if "crash" in words:
            return 0, "--------- beginning of crash\n" + "".join(line + "\n" for line in self.state["crashes"]), ""
        hidden = self.state["polls_left"] > 0
        self.state["polls_left"] -= 1
        lines = [line for line in self.state["log"] if not (hidden and ("DONE" in line or "FAILED" in line))]
        return 0, "--------- beginning of main\n" + "".join(line + "\n" for line in lines), ""

    def _am(self, words):
        if words[0] == "force-stop":
            self.state["pid"] = None
            return 0, "", ""
        extras, action = {}, None
        for k, word in enumerate(words):
            if word in ("--es", "--ei", "--ef"):
                extras[words[k + 1]] = {"--es": str, "--ei": int, "--ef": float}[word](words[k + 2])
            if word == "-a":
                action = words[k + 1]
        started = f"Starting: Intent {{ act={action} cmp={PACKAGE}/.MainActivity }}\n"
        if PACKAGE not in self.state["packages"]:
            name = f"{{{PACKAGE}/{PACKAGE}.MainActivity}}"
            return 1, started, f"Error type 3\nError: Activity class {name} does not exist.\n"
        self.state["pid"] = self.state["next_pid"] = self.state["next_pid"] + 1
        for folder in ("models", "images"):
            (self.root / EXTERNAL / folder).mkdir(parents=True, exist_ok=True)
        guarded = f"{PACKAGE}/.Benchmark" in words  # the app's README: MainActivity itself ignores the action
        if action == f"{PACKAGE}.BENCHMARK" and guarded:
            self.state["intents"].append(extras)
            self.state["polls_left"] = self.faults.get("polls", 0)
            self._app(extras)
        return 0, started, ""

    def _app(self, extras):
        """The app's behaviour as described in android_demo/README.md."""
        output, delegate = extras["output"], extras["delegate"]
        self.state["log"].append(f"BENCHMARK STARTED output={output}")
        if delegate in self.faults.get("crash", {}):
            pid, self.state["pid"] = self.state["pid"], None
            self.state["crashes"] += [line.replace("PID", str(pid)) for line in self.faults["crash"][delegate]]
            return
        if delegate in self.faults.get("hang", []):
            return
        error = self.faults.get("refuse", {}).get(delegate)
        report = self._result(extras, error)
        text = json.dumps(report, indent=2)
        how = self.faults.get("damage", {}).get(delegate)
        if how == "half":
            text = text[: len(text) // 2]
        elif how == "empty":
            text = ""
        elif how:
            text = json.dumps(damaged(report, how))
        if not self.faults.get("dead_cat"):
            for folder in (self.root / EXTERNAL / "results", self.root / INTERNAL / "files/results"):
                if folder.is_dir() or folder.is_relative_to(self.root / EXTERNAL):
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / f"{output}.json").write_text(text)
        failed = report["results"][0]["error"]
        self.state["log"].append(
            f"BENCHMARK FAILED output={output} reason={failed}" if failed else f"BENCHMARK DONE output={output}"
        )

    def _result(self, extras, error):
        where = [self.root / INTERNAL / "files", self.root / EXTERNAL]
        found = {kind: next((p / kind / extras[kind[:-1]] for p in where if (p / kind / extras[kind[:-1]]).exists()), None)
                 for kind in ("models", "images")}  # fmt: skip
        model, image = (path.read_bytes() if path else None for path in found.values())
        error = error or (None if model else f"{extras['model']} is not in the app's models")
        width, height = struct.unpack(">II", image[16:24]) if image else (None, None)
        per_byte = self.state.get("ms_per_byte")  # so that files can differ in time
        first = 10.0 if per_byte is None or model is None else per_byte * len(model)
        samples = [] if error else [first + k / 4 for k in range(extras["runs"])]
        delegate = extras["delegate"]
        return {
            "format": "mobile-sr benchmark 1",
            "where": "emulator" if self.state.get("properties", {}).get("ro.hardware") == "ranchu" else "device",
            "environment": {
                "device": "Pixel 8", "manufacturer": "Google", "android": "14", "sdk": 34, "abi": "arm64-v8a", "cores": 9,
                "app_version": "1.0", "litert": "2.16.1", "width": width, "height": height, "threads": extras["threads"],
                "runs": extras["runs"], "warmup": extras["warmup"], "date": "2026-11-22T01:02:03Z",
                "thermal": self.state.get("thermal", "none"), "background": self.state.get("background", False),
            },
            "results": [{
                "model": extras["model"], "sha256": hashlib.sha256(model).hexdigest() if model else None,
                "size_bytes": len(model) if model else None, "threads": extras["threads"], "requested_delegate": delegate,
                "signature": (extras.get("signature") or "dense") if model and b"model_control_dependencies" in model else None,
                "effective_delegate": "none" if error else delegate, "delegated_nodes": 0 if error else 13, "nodes": 15,
                "init_ms": None if error else 7.5, "first_ms": None if error else 21.0,
                "latency_ms": None if error else statistics(samples), "samples_ms": samples,
                "memory_pss_bytes": None if error else 123456789, "psnr_vs_cpu": None if error or delegate == "cpu" else 51.5,
                "psnr_vs_reference": None, "error": error,
            }],
        }  # fmt: skip


def _step(command, words):
    """The name of the step in `lost`."""
    script = " ".join(words)
    if command != "shell":
        return command
    return (
        "start"
        if script.startswith("am start")
        else "poll"
        if script.startswith("pidof")
        else "cat"
        if script.startswith("cat")
        else None
    )


def damaged(report, how):
    measured = report["results"][0]
    if how == "host":
        report["where"] = "host"
    elif how == "format":
        report["format"] = "mobile-sr benchmark 9"
    elif how == "fallback":
        measured["effective_delegate"] = "cpu"
    elif how == "samples":
        measured["samples_ms"].pop()
    elif how == "list":
        return [report]
    else:
        measured[how] = "0" * 64
    return report


def statistics(samples):
    ordered, mean = sorted(samples), sum(samples) / len(samples)

    def percentile(share):
        place = share * (len(ordered) - 1)
        low = int(place)
        return ordered[low] + (ordered[min(low + 1, len(ordered) - 1)] - ordered[low]) * (place - low)

    std = (sum((x - mean) ** 2 for x in samples) / len(samples)) ** 0.5
    return {
        "min": ordered[0],
        "mean": mean,
        "p50": percentile(0.5),
        "p90": percentile(0.9),
        "p99": percentile(0.99),
        "std": std,
    }


if __name__ == "__main__":
    status, out, errors = Phone(os.environ["FAKE_PHONE"]).adb(sys.argv[1:])
    sys.stdout.write(out)
    sys.stderr.write(errors)
    sys.exit(status)
