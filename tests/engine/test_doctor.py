"""The verb `doctor`: it names what is not in order, and works when much of it is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from twoloops import doctor, integrity
from twoloops.doctor import Finding

from commands.rendering import TEMPLATE
from tests.engine.support.project import Project

VERSION = "0.9.0"
FILES = {
    "pyproject.toml": f'[project]\nname = "twoloops"\nversion = "{VERSION}"\n',
    "README.md": "# Engine\n",
    "src/twoloops/__init__.py": '"""Engine."""\n',
    "src/twoloops/verbs/run.py": "RUN = 1\n",
}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")


@pytest.fixture
def engine(bare_project: Project) -> Path:
    """Return the folder of a project's released engine."""
    folder = bare_project.folder / "engine"
    for name, text in FILES.items():
        write(folder / name, text)
    content = integrity.digests(folder, integrity.find_files(folder))
    assert set(content) == set(FILES)
    write(folder / integrity.MANIFEST, integrity.as_text(VERSION, content))
    return folder


def examined(engine: Path) -> list[tuple[str, str]]:
    return [(each.state, each.text) for each in doctor.check_engine(engine / "src/twoloops")]


def test_a_released_engine_is_unmodified(engine: Path) -> None:
    write(engine / "src/twoloops/__pycache__/run.cpython-311.pyc", "compiled")
    write(engine / ".ruff_cache/x", "a tool's")
    # A checkout on Windows has other ends of lines, and the same content.
    write(engine / "README.md", "# Engine\r\n")
    assert examined(engine) == [("ok", f"engine {VERSION}, unmodified")]


def test_what_differs_is_named(engine: Path) -> None:
    write(engine / "src/twoloops/verbs/run.py", "RUN = 2\n")
    (engine / "README.md").unlink()
    write(engine / "src/twoloops/mine.py", "")
    assert examined(engine) == [
        ("wrong", f"engine {VERSION} is not as it was released; {kind}: {name}")
        for kind, name in (
            ("changed", "src/twoloops/verbs/run.py"),
            ("missing", "README.md"),
            ("added", "src/twoloops/mine.py"),
        )
    ]


@pytest.mark.parametrize(
    ("version", "manifest", "state", "text"),
    [
        ("1.0.0.dev0", None, "note", "no release: there is no manifest to compare it with"),
        ("1.0.0", None, "wrong", "MANIFEST is missing, so it cannot be compared"),
        ("1.0.0", "# twoloops 0.9.0\n", "wrong", "its MANIFEST is that of 0.9.0"),
    ],
)
def test_a_version_without_its_manifest(
    engine: Path, version: str, manifest: str | None, state: str, text: str
) -> None:
    write(engine / "pyproject.toml", f'[project]\nversion = "{version}"\n')
    (engine / integrity.MANIFEST).unlink()
    if manifest:
        write(engine / integrity.MANIFEST, manifest)
    [(found, told)] = examined(engine)
    assert (found, text in told) == (state, True), told


def test_a_copy_elsewhere_is_named(engine: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(engine, copy)
    assert examined(copy) == [
        ("note", f"engine {VERSION}, from an editable copy elsewhere, in place of engine/: {copy}"),
        ("ok", f"engine {VERSION}, unmodified"),
    ]


def test_only_a_release_of_the_template_has_a_manifest() -> None:
    """Each edit of the engine would change it. `uv run release make` writes it: tests/test_releases.py."""
    folder = TEMPLATE / "template/engine"
    manifest = integrity.read(folder)
    if manifest is not None:  # this very tree is a release
        assert not any(integrity.find_differences(folder, manifest).values())
    else:
        assert ".dev" in (folder / "pyproject.toml").read_text(encoding="utf-8")


def libraries() -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {"ok": [], "note": [], "wrong": []}
    for each in doctor.check_libraries():
        found[each.state].append(each)
    return found


def test_versions_are_compared_with_bounds_and_record(bare_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"numpy": "1.26.0", "typer": metadata.version("typer"), "onnxruntime": metadata.version("onnxruntime")}
    versions |= {"pydantic": metadata.version("pydantic"), "uvicorn": "0.50.0"}

    class Installed:
        def __init__(self, name: str, version: str) -> None:
            self.metadata, self.version = {"Name": name}, version

    monkeypatch.setattr(metadata, "distributions", lambda: [Installed(*each) for each in versions.items()])
    monkeypatch.setattr(doctor, "read_record", lambda: {"numpy": "2.4.6", "typer": versions["typer"]})
    project = bare_project.folder / "pyproject.toml"
    text = '\n[dependency-groups]\nserve = ["twoloops[online]"]\ntrain = ["twoloops[training]", "x"]\n'
    write(project, project.read_text(encoding="utf-8") + text)
    found = libraries()
    wrong = "\n".join(each.text for each in found["wrong"])
    assert "numpy 1.26.0 is outside of what this engine works with: <3,>=2" in wrong
    assert (
        "PyYAML: missing, and nothing works without" in wrong or "pyyaml: missing, and nothing works without" in wrong
    )
    assert "missing from the extra online" in wrong  # uvicorn is there, and the others are not
    assert [each.text for each in found["note"]] == [
        "the extra training is not installed here",
        "1 packages as the release was proved with, 1 others: numpy 1.26.0 (proved with 2.4.6)",
    ]


def test_programs_are_looked_for(bare_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name in ("uv", "terraform", "docker", "podman") else name)
    monkeypatch.setattr(doctor, "_offers", lambda: frozenset({"images", "infrastructure"}))
    told = [each.text for each in doctor.check_machine() if each.state == "wrong"]
    assert [text.partition(" is missing")[0] for text in told] == ["uv", "terraform", "docker or podman"]
    monkeypatch.setattr(doctor, "_offers", frozenset)
    assert sum(each.state == "wrong" for each in doctor.check_machine()) == 1


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=os.environ)


def test_a_project_in_order(bare_project: Project) -> None:
    done = run(bare_project.folder, "twoloops", "doctor", "--json")
    document = json.loads(done.stdout)
    assert [each for each in document["findings"] if each["state"] == "wrong"] == []
    assert (done.returncode, document["in_order"]) == (0, True)
    told = {each["text"] for each in document["findings"]}
    assert {"params.yaml is valid", f"state: {bare_project.folder}", "platforms: local"} <= told


@pytest.mark.parametrize("command", [["twoloops", "doctor"], ["twoloops.doctor"]])
def test_it_works_when_much_is_broken(bare_project: Project, command: list[str]) -> None:
    project, params = bare_project.folder / "pyproject.toml", bare_project.folder / "params.yaml"
    write(project, project.read_text(encoding="utf-8").replace('platform = "local"', 'platfrom = "local"'))
    write(params, "seed: [\n")
    done = run(bare_project.folder, *command)
    assert done.returncode == 1
    assert "did you mean 'platform'?" in done.stdout
    assert "What to do: engine/README.md explains every key." in done.stdout
    assert "to put right." in done.stdout
    assert "git version" in done.stdout


def test_each_broken_part_is_named(bare_project: Project) -> None:
    write(bare_project.folder / "params.yaml", "seed: [\n")
    project = bare_project.folder / "pyproject.toml"
    write(project, project.read_text(encoding="utf-8").replace('host = "github"', 'host = "elsewhere"'))
    wrong = {each.about: each.text for each in doctor.examine() if each.state == "wrong"}
    assert "has 'elsewhere' among its hosts" in wrong["configuration"]
    assert "params.yaml is not valid YAML" in wrong["parameters"]


def test_a_part_that_raises_does_not_hide_the_others(bare_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SOURCE", bare_project.folder)  # where no record lies
    found = {each.about: each for each in doctor.examine()}
    assert found["libraries"].state == "wrong"
    assert "FileNotFoundError" in found["libraries"].text
    assert found["configuration"].state == "ok"
