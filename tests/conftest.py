"""What all tests share: projects rendered from this checkout, and the tools that some need."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from commands.rendering import clean_environment, render

# The developer's own Copier settings must not answer a question.
os.environ["COPIER_SETTINGS_PATH"] = str(Path(__file__).parent / "copier-settings.yml")
# What runs in the background of a shell does not hear Ctrl-C, and neither would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
UV = os.environ.get("UV", "uv")
# Set by .ci/run: there a missing tool is a failure, not a skip.
DEMANDED = os.environ.get("CI") == "true"

# A file system in memory, where the machine has one: for many small files, or large ones that are soon deleted.
MEMORY = Path("/dev/shm")  # noqa: S108

Render = Callable[..., Path]


def need(tool: str) -> str:
    """Return the path of a program, or skip the test and say why; CI skips none."""
    found = shutil.which(tool)
    if found is None:
        if DEMANDED:
            pytest.fail(f"{tool} is not installed, and CI skips no test")
        pytest.skip(f"{tool} is not installed")
    return found


@pytest.fixture
def rendered(tmp_path: Path) -> Render:
    """Return a function that renders a project with the given answers, and checks that they were taken."""

    def make(answers: Mapping[str, Any] | None = None) -> Path:
        folder = tmp_path / "project"
        render(folder, answers or {})
        recorded = yaml.safe_load((folder / ".copier-answers.yml").read_text(encoding="utf-8"))
        assert {name: recorded.get(name) for name in answers or {}} == dict(answers or {})
        return folder

    return make


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


def install(folder: Path, answers: Mapping[str, Any]) -> Installed:
    """Render, commit and install a project."""
    render(folder, answers)
    commit(folder)
    subprocess.run([UV, "sync", "--quiet"], cwd=folder, env=clean_environment(), check=True)
    return Installed(folder)


def shared_project(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that one test process makes and all others use."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / f"shared-{name}"
    with FileLock(f"{folder}.lock"):
        if not (root / f"{name}.made").exists():
            make(folder)
            (root / f"{name}.made").touch()
    return folder


@pytest.fixture
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Installed:
    """Return a copy of a project of the problem type in `request.param` whose inner loop has run.

    The copy's environment is the original's, so that it costs no installation: its package is
    found in the copy by PYTHONPATH.
    """
    problem_type = request.param

    def make(folder: Path) -> None:
        project = install(
            folder, {"problem_type": problem_type, "project_name": "Loop", "serving_mode": "online_and_batch"}
        )
        for words in (["simulate"], ["run"], ["promote"]):
            project.verb(*words)

    original = shared_project(tmp_path_factory, f"trained-{problem_type}", make)
    copy = tmp_path / "loop"
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns(".venv"), symlinks=True)
    return CopyOf(copy, original)


class CopyOf(Installed):
    """A copy of an installed project that uses the original's environment."""

    def __init__(self, folder: Path, original: Path) -> None:
        """Keep both folders."""
        super().__init__(folder)
        self._environment = {
            "UV_PROJECT_ENVIRONMENT": str(original / ".venv"),
            "PYTHONPATH": str(folder / "src"),
        }

    def run(
        self, *command: str, code: int | None = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with the original's environment and the copy's code."""
        return super().run(*command, code=code, env=self._environment | dict(env or {}))
