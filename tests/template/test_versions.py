"""A new project begins with the versions that its release was proved with; from then on its own lock rules."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from commands import versions
from commands.rendering import TEMPLATE, clean_environment, render

UV = shutil.which("uv") or "uv"
# Newer than all there is: one that a bound of the engine allows, and one that it excludes.
ALLOWED, EXCLUDED = ("typer", "0.99.0"), ("msgspec", "0.99.0")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    render(folder, {})
    return folder


@pytest.fixture
def newer(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which there are newer versions than there are."""
    folder = tmp_path / "newer"
    folder.mkdir()
    for name, version in (ALLOWED, EXCLUDED):
        about = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "")
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")
    return clean_environment() | {"UV_FIND_LINKS": str(folder)}


def uv(project: Path, environment: Mapping[str, str], *words: str) -> str:
    done = subprocess.run([UV, *words], cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_first_command_takes_the_record_and_not_what_is_newer(project: Path, newer: dict[str, str]) -> None:
    """`uv run` is the first command: it resolves, and installs what it found (here the engine's core alone)."""
    code = "from importlib.metadata import version; print(version('typer'))"
    record = versions.read(TEMPLATE)
    assert uv(project, newer, "run", "--no-default-groups", "python", "-c", code).strip() == record["typer"]
    locked = versions.read_lock(project / "uv.lock")
    assert {name: version for name, version in locked.items() if version != record.get(name)} == {}
    assert "sha256" in (project / "uv.lock").read_text(encoding="utf-8")  # it is a whole lock now
    # Nothing that its owner adds or does later brings the others with it.
    uv(project, newer, "lock")
    assert versions.read_lock(project / "uv.lock") == locked


@pytest.mark.slow
def test_an_upgrade_takes_what_is_newer_within_the_bounds(project: Path, newer: dict[str, str]) -> None:
    uv(project, newer, "lock")
    uv(project, newer, "lock", "--upgrade")
    locked = versions.read_lock(project / "uv.lock")
    assert locked["typer"] == ALLOWED[1]
    assert locked["msgspec"] != EXCLUDED[1]


@pytest.mark.slow
def test_without_the_record_what_is_newer_would_be_taken(project: Path, newer: dict[str, str]) -> None:
    """So the two tests above can fail."""
    (project / "uv.lock").unlink()
    uv(project, newer, "lock")
    assert versions.read_lock(project / "uv.lock")["typer"] == ALLOWED[1]


def test_the_record_has_names_and_versions_alone() -> None:
    text = (TEMPLATE / versions.RECORD).read_text(encoding="utf-8")
    assert text.startswith(versions.HEAD)
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.+!]+", line) for line in text.removeprefix(versions.HEAD).splitlines())


def test_an_update_leaves_a_lock_to_its_owner() -> None:
    settings = yaml.safe_load((TEMPLATE / "copier.yml").read_text(encoding="utf-8"))
    assert "{% if _copier_operation == 'update' %}uv.lock{% endif %}" in settings["_exclude"]


def test_a_fresh_checkout_of_the_template_begins_with_the_record(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(TEMPLATE / ".ci/lock", tmp_path / ".ci/lock")
    record = tmp_path / versions.RECORD
    record.parent.mkdir(parents=True)
    shutil.copy(TEMPLATE / versions.RECORD, record)
    for _ in range(2):  # the second time there is a lock, and it is left as it is
        subprocess.run(["bash", ".ci/lock"], cwd=tmp_path, check=True)
        assert versions.read_lock(tmp_path / "uv.lock") == versions.read(TEMPLATE)


def test_what_is_installed_otherwise_is_named() -> None:
    assert versions.find_differences({"pytest": "0.1", "no-such-package": "1"}) == [
        f"pytest is {pytest.__version__}, and the record says 0.1"
    ]
