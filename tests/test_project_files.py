"""The files around the code: YAML, citation, changelog, metadata, and the paths that CONTRIBUTING.md names."""

import re
import tomllib

import pytest

from mobile_sr import __version__
from tests.conftest import ROOT

YAML = [ROOT / "CITATION.cff", ROOT / ".pre-commit-config.yaml", *sorted((ROOT / ".github").rglob("*.yml"))]


def backticked_paths(page):
    """The files and folders that a page names in backticks, without placeholders such as models/NAME.py."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    names = set(re.findall(r"`([\w.-]+(?:/[\w.-]*)+|[\w-]+\.(?:md|txt|toml|cff))`", text))
    return {name for name in names if "NAME" not in name}


def load_yaml(path):
    return pytest.importorskip("yaml").safe_load(path.read_text())


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_files_parse(path):
    assert isinstance(load_yaml(path), dict)


def test_contributing_names_files_that_exist():
    named = backticked_paths(ROOT / "CONTRIBUTING.md")
    assert len(named) > 20
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_the_citation_is_of_this_version():
    citation = load_yaml(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors", "version", "license", "references"} <= citation.keys()
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", __version__)
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year"} <= reference.keys()
        assert ("journal" if reference["type"] == "article" else "conference") in reference
    titles = [reference["title"] for reference in citation["references"]]
    assert len(titles) == len(set(titles))


def test_the_hosted_workflow_runs_what_ci_runs():
    commands = set(re.findall(r"make ([a-z0-9-]+)", (ROOT / ".ci" / "run").read_text()))
    assert commands == {"lint", "arm64", "devices", "test", "web-packages", "test-web", "test-android"}
    workflow = load_yaml(ROOT / ".github" / "workflows" / "ci.yml")
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert commands == set(re.findall(r"make ([a-z0-9-]+)", "\n".join(steps)))


def test_python_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert project["requires-python"] == f">={versions[0]}"
    workflow = load_yaml(ROOT / ".github" / "workflows" / "ci.yml")
    assert workflow["jobs"]["python"]["strategy"]["matrix"]["python-version"] == [versions[0], versions[-1]]


def test_the_changelog_has_sections():
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    kinds = set(re.findall(r"^### (.+)", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_pages_link_to_files_that_exist():
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#\s]+)", (ROOT / name).read_text()):
            assert target.startswith("http") or (ROOT / target).exists(), target
