"""Rendered projects: committed, installed, copied, and their verbs run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from commands.answer_space import Rendered, template
from commands.rendering import TEMPLATE, clean_environment, render

from .tools import UV


def lay_out(folder: Path, answers: Mapping[str, Any], *, engine: bool = True) -> None:
    """Write the project that Copier renders for these answers and defaults, without Copier's start-up.

    tests/template/test_answer_space.py shows that both write the same.
    """
    ours = template()
    files = ours.render(ours.all_answers(answers), origin={"_src_path": str(TEMPLATE)})
    write(folder, {path: file for path, file in files.items() if engine or not path.startswith("engine/")})


def write(folder: Path, files: Mapping[str, Rendered]) -> None:
    """Write rendered files into a folder, by their paths."""
    for path, file in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        if file.executable:
            target.chmod(0o755)


def commit(folder: Path) -> None:
    """Make the folder a git repository with everything in it."""
    author = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    for command in (
        ["git", "init", "--quiet", "--initial-branch=main"],
        ["git", "add", "--all"],
        ["git", *author, "commit", "--quiet", "--message=Start"],
    ):
        subprocess.run(command, cwd=folder, check=True)


class Installed:
    """A rendered, committed and installed project."""

    def __init__(self, folder: Path) -> None:
        """Keep the project's folder."""
        self.folder = folder
        answers = yaml.safe_load((folder / ".copier-answers.yml").read_text(encoding="utf-8"))
        self.package: str = answers["package_name"]

    def run(
        self, *command: str, code: int | None = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's environment and demand its exit code (None: any but 0)."""
        answer = subprocess.run(
            [UV, "run", "--no-sync", *command],
            cwd=self.folder,
            env=clean_environment() | {"OMP_NUM_THREADS": "1"} | dict(env or {}),
            capture_output=True,
            text=True,
            check=False,
        )
        expected = answer.returncode != 0 if code is None else answer.returncode == code
        assert expected, f"{command}: {answer.returncode}\n{answer.stdout}\n{answer.stderr}"
        return answer

    def verb(
        self, *words: str, code: int | None = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the project's verbs."""
        return self.run(self.package, *words, code=code, env=env)


def commit_all(project: Installed, message: str = "Results") -> None:
    """Commit what has changed."""
    author = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    for command in (["git", "add", "--all"], ["git", *author, "commit", "--quiet", f"--message={message}"]):
        subprocess.run(command, cwd=project.folder, check=True)


def change(project: Installed, section: str, **values: Any) -> None:
    """Change keys of a section of params.yaml; its comments are lost."""
    path = project.folder / "params.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content[section] |= values
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def install(folder: Path, answers: Mapping[str, Any]) -> Installed:
    """Render, commit and install a project."""
    render(folder, answers)
    commit(folder)
    subprocess.run([UV, "sync", "--quiet"], cwd=folder, env=clean_environment(), check=True)
    return Installed(folder)


def copy_of(original: Path, folder: Path) -> CopyOf:
    """Copy a project with all that it has made; its environment stays the original's, so it costs no installation."""
    shutil.copytree(original, folder, ignore=shutil.ignore_patterns(".venv"), symlinks=True)
    return CopyOf(folder, original)


def shared_project(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder, or a file, that one test process makes and all others use."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / f"shared-{name}"
    with FileLock(f"{folder}.lock"):
        if not (root / f"{name}.made").exists():
            make(folder)
            (root / f"{name}.made").touch()
    return folder


class CopyOf(Installed):
    """A copy of an installed project that uses the original's environment."""

    def __init__(self, folder: Path, original: Path) -> None:
        """Keep both folders."""
        super().__init__(folder)
        self.environment = {
            "UV_PROJECT_ENVIRONMENT": str(original / ".venv"),
            "PYTHONPATH": os.pathsep.join([str(folder / "src"), str(folder / "engine/src")]),
        }

    @property
    def python(self) -> str:
        """The Python of the environment, to start it without a program in between."""
        return f"{self.environment['UV_PROJECT_ENVIRONMENT']}/bin/python"

    def variables(self) -> dict[str, str]:
        """Return the environment of a process that is started without `uv run`."""
        return clean_environment() | {"OMP_NUM_THREADS": "1"} | self.environment

    def run(
        self, *command: str, code: int | None = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with the original's environment and the copy's code."""
        return super().run(*command, code=code, env=self.environment | dict(env or {}))
