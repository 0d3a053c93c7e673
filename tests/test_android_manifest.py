"""Checks of the Android app's manifest, as lint would make them: exported components, permissions, backup, debugging."""

import os
import re
import subprocess
import xml.etree.ElementTree as ET

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
    assert f"{PACKAGE}.Benchmark" in (DEMO / "app/src/main/java/org/mobilesr/demo/MainActivity.java").read_text()


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


def test_a_release_needs_a_key(tmp_path):
    script, environment = DEMO / "tools" / "apk.sh", {**os.environ, "RELEASE": "1", "KEYSTORE": ""}
    done = subprocess.run([script, tmp_path, tmp_path / "x.apk"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (2, "apk.sh: RELEASE needs KEYSTORE=FILE, made by keytool -genkeypair\n")
