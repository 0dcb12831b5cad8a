"""What the flows of all hosts are run with: a project, a remote, and a note of every verb that was run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands.rendering import TEMPLATE, clean_environment
from tests.support.projects import commit, lay_out
from tests.support.tools import DEMANDED, UV, need

TOOLS = TEMPLATE / ".tools"  # npm's: .ci/run installs them
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.com")
PACKAGE = "churn"
STAND_IN = Path(__file__).parent / "stand_in.py"
ENVIRONMENTS = ("staging", "production")

SHIM = """#!/usr/bin/env bash
# Stands for uv while a flow runs. What is installed already is not installed again; a verb is played, or run and noted.
if [[ -n "${{ACTIONS_ID_TOKEN_REQUEST_URL:-}}" ]]; then
  ACTIONS_ID_TOKEN_REQUEST_URL+="&job=$GITHUB_JOB" # GitHub's own address says of itself which job asks
fi
case "$1 $2" in
  "sync "*) exit 0 ;;
  "run {package}") {verb} ;;
  *) exec {uv} "$@" ;;
esac
"""
PLAYED = """case "$3" in
    {real}) exec {python} -m twoloops "${{@:3}}" ;;
    *) exec {python} {stand_in} {folder} "${{@:3}}" ;;
  esac"""
RUN = 'printf \'{{"verb": "%s"}}\\n\' "${{*:3}}" >> {folder}/notes.jsonl; exec {uv} "$@"'


class FlowProject:
    """A rendered and committed project with a bare remote, ready for a host's runner."""

    def __init__(self, folder: Path, *, played: bool = True, real: Sequence[str] = ()) -> None:
        """Keep the folder; what belongs to the run lies beside it.

        Args:
            folder: of a rendered project.
            played: does the stand-in take the place of every verb?
            real: but for these.
        """
        self.folder = folder
        answers = yaml.safe_load((folder / ".copier-answers.yml").read_text(encoding="utf-8"))
        self.package: str = answers["package_name"]
        self.on_a_cloud = answers["infrastructure"] != "local"
        online = "online" in answers["serving_mode"]
        self.environments = tuple(answers["environments"].split(", ")) if online else ENVIRONMENTS[1:]
        self.origin = folder.parent / "origin.git"
        self.state = folder.parent / "state"
        # All jobs use one installation, where each would make its own: that costs minutes, and shows nothing new.
        self.installed = {"PYTHONPATH": str(TEMPLATE)}
        if not played:
            self.installed = {
                "UV_PROJECT_ENVIRONMENT": str(folder.parent / "venv"),
                "UV_NO_SYNC": "1",
                "PYTHONPATH": os.pathsep.join([str(folder / "src"), str(folder / "engine/src")]),
                "MYPY_CACHE_DIR": str(folder.parent / "mypy"),
            }
        self._command = [sys.executable, "-m", "twoloops"] if played else [UV, "run", "--quiet", self.package]
        self._notes = folder.parent / "notes.jsonl"
        self._bin = folder.parent / "bin"
        self._bin.mkdir(exist_ok=True)
        names = {
            "folder": folder.parent, "uv": shutil.which(UV) or UV, "python": sys.executable, "stand_in": STAND_IN,
        }  # fmt: skip
        quoted = {name: shlex.quote(str(value)) for name, value in names.items()}
        shim = self._bin / "uv"
        verb = (PLAYED if played else RUN).format(real="|".join(real) or "''", **quoted)
        shim.write_text(SHIM.format(package=self.package, verb=verb, **quoted), encoding="utf-8")
        shim.chmod(0o755)

    def git(self, *words: str) -> str:
        """Run git in the project and return what it prints."""
        done = subprocess.run([*GIT, *words], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        """Commit everything and push it to the remote's branch of the same name."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--no-verify", "--allow-empty", f"--message={message}")
        self.git("push", "--quiet", "--force", "origin", "HEAD")

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text in a file, and commit."""
        file = self.folder / path
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new), encoding="utf-8")
        self.commit(f"Change {path}")

    def set(self, **changes: Any) -> None:
        """Change params.yaml, such as gate__threshold=0.99, and commit."""
        file = self.folder / "params.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        for name, value in changes.items():
            section, key = name.split("__")
            content[section][key] = value
        file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
        self.commit("Change params.yaml")

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a runner: `uv` is the shim; nothing tells of another host."""
        foreign = ("GITHUB_", "CI_", "AWS_", "TF_")
        kept = {name: value for name, value in clean_environment().items() if not name.startswith(foreign)}
        for name in ("CI", "MLFLOW_TRACKING_URI", "PROJECT_STATE", "PYTHONDONTWRITEBYTECODE"):
            kept.pop(name, None)
        path = f"{self._bin}{os.pathsep}{kept['PATH']}"
        return kept | {"PATH": path, "OMP_NUM_THREADS": "1"} | self.installed | more

    def notes(self) -> list[dict[str, Any]]:
        """Return what was noted since the last call of each verb that was run, in the order in which they began."""
        lines = self._notes.read_text(encoding="utf-8").splitlines() if self._notes.exists() else []
        self._notes.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def verbs(self) -> list[str]:
        """Return the project's verbs that were run since the last call."""
        return [note["verb"] for note in self.notes()]

    @contextmanager
    def failing(self, verb: str) -> Iterator[None]:
        """Let a verb fail for a while."""
        fails = self.folder.parent / "fails"
        fails.write_text(verb, encoding="utf-8")
        try:
            yield
        finally:
            fails.unlink()

    def verb(self, *words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a verb by hand, as on the machine whose state the flows share, without noting it."""
        ours = {"OMP_NUM_THREADS": "1", "PROJECT_STATE": str(self.state)}
        env = clean_environment() | self.installed | ours | environment
        command = [*self._command, *words]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    @contextmanager
    def changed(self, **params: Any) -> Iterator[None]:
        """Let a test commit what it likes, first of all changes of params.yaml; afterwards all is as before."""
        before = self.git("rev-parse", "HEAD")
        try:
            if params:
                self.set(**params)
            yield
        finally:
            self.git("switch", "--quiet", "--discard-changes", "main")
            self.git("reset", "--quiet", "--hard", before)
            self.git("push", "--quiet", "--force", "origin", "main")
            shutil.rmtree(self.state, ignore_errors=True)


def begin(folder: Path, provider: str, *, played: bool = True, real: Sequence[str] = (), **answers: Any) -> FlowProject:
    """Render, commit and push a project for a host.

    Args:
        folder: to render into; its parent takes what belongs to the run (origin.git, state, bin).
        provider: the answer of ci_provider.
        played: does the stand-in take the place of every verb? Else the project is installed.
        real: but for these.
        answers: further ones.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lay_out(folder, {"package_name": PACKAGE, "serving_mode": "online", "ci_provider": provider, **answers})
    project = FlowProject(folder, played=played, real=real)
    if not played:
        environment = clean_environment() | project.installed | {"UV_NO_SYNC": "false"}
        subprocess.run([UV, "sync", "--quiet"], cwd=folder, env=environment, check=True)
    commit(folder)
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(project.origin)], check=True)
    project.git("remote", "add", "origin", str(project.origin))
    project.git("push", "--quiet", "origin", "main")
    project.git("fetch", "--quiet", "origin")
    project.git("remote", "set-head", "origin", "main")
    return project


def node_tool(*parts: str) -> list[str]:
    """Return the command of an npm tool's script below .tools/node_modules, or skip; CI skips none."""
    script = TOOLS.joinpath("node_modules", *parts)
    node = need("node")
    if not script.exists():
        if DEMANDED:
            pytest.fail(f"{script} is not installed, and CI skips no test")
        pytest.skip(f"{'/'.join(parts)} is not installed: .ci/run says how")
    return [node, str(script)]
