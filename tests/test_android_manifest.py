"""Checks of the Android app's manifest, as lint would make them: exported components, permissions, backup, debugging."""

import os
import re
import struct
import subprocess
import xml.etree.ElementTree as ET

from mobile_sr.devices import snapdragon
from tests.conftest import ROOT

DEMO = ROOT / "android_demo"
ANDROID = "{http://schemas.android.com/apk/res/android}"
PACKAGE = "org.mobilesr.demo"
MANIFEST = ET.parse(DEMO / "app" / "src" / "main" / "AndroidManifest.xml").getroot()
COMPONENTS = {
    element.get(ANDROID + "name"): element
    for element in MANIFEST.find("application")
    if element.tag in ("activity", "activity-alias", "service", "receiver", "provider")
}


def actions(component):
    return {action.get(ANDROID + "name") for action in component.iter("action")}


def test_every_component_says_whether_it_is_exported():
    exported = {name: element.get(ANDROID + "exported") for name, element in COMPONENTS.items()}
    assert set(exported.values()) <= {"true", "false"}
    assert {name for name, value in exported.items() if value == "true"} == {f"{PACKAGE}.MainActivity", f"{PACKAGE}.Benchmark"}


def test_only_adb_starts_benchmarks():
    """DUMP is held by adb's shell and the system; the open activity has no filter for the action."""
    action = f"{PACKAGE}.BENCHMARK"
    assert [name for name, element in COMPONENTS.items() if action in actions(element)] == [f"{PACKAGE}.Benchmark"]
    alias = COMPONENTS[f"{PACKAGE}.Benchmark"]
    assert alias.get(ANDROID + "permission") == "android.permission.DUMP"
    assert alias.get(ANDROID + "targetActivity") == f"{PACKAGE}.MainActivity"
    assert f"{PACKAGE}.Benchmark" in (DEMO / "app/src/main/java/org/mobilesr/demo/BenchmarkIntent.java").read_text()


def test_the_app_asks_for_no_permission():
    assert MANIFEST.findall("uses-permission") == []


def test_debugging_and_backup_are_left_to_the_build():
    """A release must not be debuggable: neither the manifest nor the Gradle build says so."""
    application = MANIFEST.find("application")
    assert application.get(ANDROID + "debuggable") is None
    assert application.get(ANDROID + "allowBackup") == "false"
    assert "isDebuggable" not in (DEMO / "app" / "build.gradle.kts").read_text()


def test_the_names_of_classes_exist():
    sources = DEMO / "app" / "src" / "main" / "java"
    for name, element in COMPONENTS.items():
        path = (element.get(ANDROID + "targetActivity") or name).replace(".", "/")
        assert (sources / f"{path}.java").is_file(), name


def test_the_builds_agree_on_sdk_versions():
    gradle, script = (DEMO / "app" / "build.gradle.kts").read_text(), (DEMO / "tools" / "apk.sh").read_text()
    for key, variable in (("minSdk", "MIN_SDK"), ("targetSdk", "TARGET_SDK")):
        assert re.search(rf"{key} = (\d+)", gradle)[1] == re.search(rf"{variable}=(\d+)", script)[1]


def test_a_television_lists_the_app():
    features = {feature.get(ANDROID + "name"): feature.get(ANDROID + "required") for feature in MANIFEST.iter("uses-feature")}
    assert features == {"android.hardware.touchscreen": "false", "android.software.leanback": "false"}
    categories = {category.get(ANDROID + "name") for category in COMPONENTS[f"{PACKAGE}.MainActivity"].iter("category")}
    assert "android.intent.category.LEANBACK_LAUNCHER" in categories
    assert MANIFEST.find("application").get(ANDROID + "banner") == "@drawable/banner"


def test_our_files_are_granted_one_by_one():
    provider = COMPONENTS[f"{PACKAGE}.SharedFiles"]
    assert (provider.get(ANDROID + "exported"), provider.get(ANDROID + "grantUriPermissions")) == ("false", "true")
    assert provider.findall("path-permission") == []


def test_the_npus_libraries_go_to_the_chips_that_files_are_compiled_for():
    groups = ET.parse(DEMO / "app" / "device_targeting_configuration.xml").getroot()
    config = "{http://schemas.android.com/apk/config}"
    chips = {}
    for group in groups:
        systems = {(chip.get("manufacturer"), chip.get("model")) for chip in group.iter(config + "system-on-chip")}
        chips[group.get("name")] = systems
    makers, variants = ("QTI", "Qualcomm"), ("", "-AC")
    assert chips == {f"Qualcomm_{name}": {(m, name + v) for m in makers for v in variants} for name in snapdragon.CHIPS}


def test_the_gradle_build_is_ready_for_16_kb_pages():
    """Since 8.5.1 the plugin aligns uncompressed libraries to 16 KB. LiteRT 2 is built for it, TFLite 2.16.1 is not."""
    version = re.search(r'application"\) version "([\d.]+)"', (DEMO / "build.gradle.kts").read_text())[1]
    assert tuple(map(int, version.split("."))) >= (8, 5, 1)
    assert "mobilesr.runtime=litert" in (DEMO / "gradle.properties").read_text()
    assert "com.google.ai.edge.litert:litert:2." in (DEMO / "sr" / "build.gradle.kts").read_text()


def elf(*alignments):
    """The start of a 64-bit library: its header, and a program header of kind LOAD for each alignment."""
    header = b"\x7fELF\x02\x01\x01".ljust(32, b"\0") + struct.pack("<QQIHHHHHH", 64, 0, 0, 64, 56, len(alignments) + 1, 0, 0, 0)
    loads = [struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 9, 9, alignment) for alignment in alignments]
    return (
        header + struct.pack("<IIQQQQQQ", 2, 6, 0, 0, 0, 9, 9, 8) + b"".join(loads)
    )  # DYNAMIC, whose alignment does not count


def test_page_sizes_of_libraries(tmp_path):
    for name, alignments in (("new.so", (0x4000, 0x10000)), ("old.so", (0x4000, 0x1000))):
        (tmp_path / name).write_bytes(elf(*alignments))
    script = DEMO / "tools" / "page_size.sh"
    done = subprocess.run([script, tmp_path / "new.so", tmp_path / "old.so"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"16 {tmp_path}/new.so\n4 {tmp_path}/old.so\n", "")
    (tmp_path / "text.so").write_text("no library")
    done = subprocess.run([script, tmp_path / "text.so"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_release_needs_a_key(tmp_path):
    script, environment = DEMO / "tools" / "apk.sh", {**os.environ, "RELEASE": "1", "KEYSTORE": ""}
    done = subprocess.run([script, tmp_path, tmp_path / "x.apk"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (2, "apk.sh: RELEASE needs KEYSTORE=FILE, made by keytool -genkeypair\n")
