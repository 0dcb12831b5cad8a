"""The agent: runs one job's steps in a workspace, and obeys the logging commands that they print.

Sources: https://learn.microsoft.com/azure/devops/pipelines/process/runs#run-each-step and
https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .expressions import Context, evaluate, to_boolean, to_string
from .variables import Variables


class RunError(RuntimeError):
    """A pipeline that Azure Pipelines would not run, or that uses what this runner does not know."""


class StepFailed(Exception):  # noqa: N818 - an outcome, no error of the runner
    """A step failed; the message goes to its log."""


@dataclass(frozen=True)
class Source:
    """What is built: a repository and the commit of it."""

    repository: str  # anything that git can fetch from
    ref: str  # such as refs/heads/main or refs/pull/7/merge
    commit: str


@dataclass
class StepResult:
    """What became of a step."""

    name: str
    result: str
    log: str = ""


@dataclass
class Records:
    """What a run leaves behind on the server."""

    artifacts: Path
    caches: Path
    summaries: list[str] = field(default_factory=list)
    issues: list[tuple[str, str]] = field(default_factory=list)  # (error or warning, message)
    tags: list[str] = field(default_factory=list)
    published: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # tasks that publish results: inputs


@dataclass
class Call:
    """A task's call: what its stand-in gets."""

    inputs: dict[str, str]
    job: Job
    later: list[Callable[[], None]] = field(default_factory=list)  # done after the job, if it succeeded

    def need(self, *names: str) -> list[str]:
        """Return inputs, all of which must be given."""
        if missing := [name for name in names if not self.inputs.get(name)]:
            raise StepFailed(f"Input required: {missing[0]}")
        return [self.inputs[name] for name in names]


Task = Callable[[Call], None]

STEP_KINDS = ("script", "bash", "task", "checkout", "publish", "download")
_OPTIONS = {"name", "displayName", "condition", "continueOnError", "enabled", "env", "timeoutInMinutes"}
_KEYS = {
    "script": {"workingDirectory"},
    "bash": {"workingDirectory"},
    "task": {"inputs"},
    "checkout": {"clean", "fetchDepth", "fetchTags", "persistCredentials"},
    "publish": {"artifact"},
    "download": {"artifact"},
}
_COMMAND = re.compile(r"##vso\[([\w.]+)(?:\s+([^\]]*))?\](.*)")
_ESCAPES = (("%0D", "\r"), ("%0A", "\n"), ("%3B", ";"), ("%5D", "]"), ("%AZP25", "%"))


def kind_of(step: Mapping[str, Any]) -> str:
    """Return what a step is.

    Raises:
        RunError: it is none that this runner knows, or has keys that it does not know.
    """
    kind = next((kind for kind in STEP_KINDS if kind in step), None)
    if kind is None:
        raise RunError(f"no step that this runner knows: {step}")
    if unknown := set(step) - {kind} - _OPTIONS - _KEYS[kind]:
        raise RunError(f"unexpected '{min(unknown)}' in {kind}")
    return kind


@dataclass
class Job:
    """A job on an agent."""

    steps: list[dict[str, Any]]
    variables: Variables
    workspace: Path
    source: Source
    environment: Mapping[str, str]  # of the machine
    tasks: Mapping[str, Task]
    records: Records
    hosted: bool  # a fresh machine of Microsoft's, not one's own
    expressions: Mapping[str, Any] = field(default_factory=dict)  # dependencies, stageDependencies
    canceled: Callable[[], bool] = lambda: False
    after: Callable[[str], None] = lambda step: None  # is told each step that is done
    done: list[StepResult] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    status: str = "Succeeded"
    _path: list[str] = field(default_factory=list)
    _explicit: str = ""

    @property
    def sources(self) -> Path:
        """The folder of the checkout."""
        return self.workspace / "s"

    def run(self) -> str:
        """Run the steps in order and return the job's result."""
        for name, folder in (
            ("Pipeline.Workspace", self.workspace),
            ("Build.SourcesDirectory", self.sources),
            ("System.DefaultWorkingDirectory", self.sources),
            ("Build.ArtifactStagingDirectory", self.workspace / "a"),
            ("Agent.TempDirectory", self.workspace / "temp"),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            self.variables.set(name, str(folder))
        later: list[Callable[[], None]] = []
        for step in self.steps:
            later += self._step(step)
        if self.status != "Failed":
            for action in reversed(later):
                action()
        shutil.rmtree(self.workspace / "temp")
        return self.status

    def _step(self, step: dict[str, Any]) -> list[Callable[[], None]]:
        kind = kind_of(step)
        name = self.variables.expand(step.get("displayName") or step.get("name") or f"{kind} {step[kind]}".strip())
        if not to_boolean(_flag(step.get("enabled", "true"))) or not self._wanted(step.get("condition")):
            self.done.append(StepResult(name, "Skipped"))
            return []
        log: list[str] = []
        self._explicit = ""
        call = Call({key: self.variables.expand(value) for key, value in (step.get("inputs") or {}).items()}, self)
        try:
            self._act(kind, step, call, log)
            result = self._explicit or "Succeeded"
        except StepFailed as failure:
            log.append(f"##[error]{failure}")
            result = "Failed"
        if result == "Failed" and to_boolean(_flag(self.variables.expand(str(step.get("continueOnError", "false"))))):
            result = "SucceededWithIssues"
        self.done.append(StepResult(name, result, self.variables.mask("\n".join(log))))
        self._worsen(result)
        self.after(name)
        if self.canceled() and self.status != "Failed":
            self.status = "Canceled"
        return call.later if result != "Failed" else []

    def _worsen(self, result: str) -> None:
        order = ["Succeeded", "SucceededWithIssues", "Canceled", "Failed"]
        self.status = max(self.status, result, key=order.index)

    def _wanted(self, condition: str | None) -> bool:
        self.variables.set("Agent.JobStatus", self.status)
        status, canceled = self.status, self.canceled()
        good = status in ("Succeeded", "SucceededWithIssues") and not canceled
        functions: dict[str, Callable[..., bool]] = {
            "always": lambda: True,
            "canceled": lambda: canceled,
            "failed": lambda: status == "Failed" and not canceled,
            "succeeded": lambda: good,
            "succeededOrFailed": lambda: not canceled,
        }
        names = {"variables": self.variables.all(), **self.expressions}
        return to_boolean(evaluate(condition or "succeeded()", Context(names, functions)))

    # ------------------------------------------------------------------------------ kinds of step

    def _act(self, kind: str, step: dict[str, Any], call: Call, log: list[str]) -> None:
        if kind in ("script", "bash"):
            self._script(step, step[kind], log)
        elif kind == "checkout":
            self._checkout(step, log)
        elif kind == "publish":
            self._publish(self.variables.expand(step["publish"]), self.variables.expand(step.get("artifact", "")))
        elif kind == "download":
            if step["download"] != "none":
                self.download(self.variables.expand(step.get("artifact", "")))
        else:
            if step["task"] not in self.tasks:
                raise RunError(f"no stand-in for the task {step['task']}")
            self.tasks[step["task"]](call)

    def prepend_path(self, folder: Path) -> None:
        """Put a folder in front of PATH, for the steps that follow."""
        self._path.insert(0, str(folder))

    def _script(self, step: dict[str, Any], script: str, log: list[str]) -> None:
        env = dict(self.environment) | self.variables.environment()
        env["PATH"] = os.pathsep.join([*self._path, env["PATH"]])
        env |= {key: self.variables.expand(to_string(value)) for key, value in (step.get("env") or {}).items()}
        env["TF_BUILD"] = "True"
        folder = self.workspace / self.variables.expand(step.get("workingDirectory", str(self.sources)))
        file = self.workspace / "temp" / "script.sh"
        file.write_text(self.variables.expand(script), encoding="utf-8")
        # The agent starts scripts like this, without -e: the last command's exit code counts.
        finished = subprocess.run(
            ["bash", "--noprofile", "--norc", str(file)],
            cwd=folder, env=env, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, errors="replace",
        )  # fmt: skip
        for line in finished.stdout.splitlines():
            log.append(line)
            if command := _COMMAND.search(line):
                self._command(command[1].lower(), command[2] or "", _unescape(command[3]), step.get("name", ""))
        if finished.returncode:
            raise StepFailed(f"Bash exited with code '{finished.returncode}'.")

    def _checkout(self, step: dict[str, Any], log: list[str]) -> None:
        what = step["checkout"]
        if what == "none":
            return
        if what != "self":
            raise RunError(f"checkout of {what}: this runner knows self and none")
        sources = self.sources
        fresh = not (sources / ".git").exists()
        if fresh:
            self._git("init", "--quiet", "--initial-branch=master", log=log)
            self._git("remote", "add", "origin", self.source.repository, log=log)
        elif to_boolean(_flag(step.get("clean", "false"))):
            self._git("clean", "-ffdx", log=log)
            self._git("reset", "--hard", "HEAD", log=log)
        # A pipeline that was made after September 2022 fetches one commit unless the file says otherwise.
        depth = int(step.get("fetchDepth", "1"))
        fetch = ["fetch", "--quiet", "--force", "--no-tags", "--prune"]
        if depth:
            self._git(*fetch, f"--depth={depth}", "origin", self.source.commit, log=log)
        else:
            self._git(*fetch, "origin", "+refs/heads/*:refs/remotes/origin/*", self.source.ref, log=log)
        self._git("checkout", "--quiet", "--force", "--detach", self.source.commit, log=log)

    def _git(self, *words: str, log: list[str]) -> None:
        command = ["git", *words]
        finished = subprocess.run(
            command, cwd=self.sources, env=dict(self.environment), capture_output=True, text=True, check=False
        )
        log.append(f"##[command]{' '.join(command)}\n{finished.stdout}{finished.stderr}")
        if finished.returncode:
            raise StepFailed(f"Git {words[0]} failed with exit code {finished.returncode}")

    def _publish(self, path: str, artifact: str) -> None:
        place, source = self.records.artifacts / artifact, self.sources / path
        if not artifact or place.exists():
            raise StepFailed(f"Artifact {artifact} already exists" if artifact else "Artifact name is empty")
        if not source.exists():
            raise StepFailed(f"Path does not exist: {path}")
        if source.is_dir():
            shutil.copytree(source, place)
        else:
            place.mkdir(parents=True)
            shutil.copy2(source, place)

    def download(self, artifact: str) -> None:
        """Lay an artifact of this run, or all of them, into the workspace, each in a folder of its name."""
        found = [path for path in sorted(self.records.artifacts.iterdir()) if artifact in ("", path.name)]
        if artifact and not found:
            raise StepFailed(f"Artifact {artifact} was not found")
        for path in found:
            shutil.copytree(path, self.workspace / path.name, dirs_exist_ok=True)

    # --------------------------------------------------------------------------- logging commands

    def _command(self, command: str, properties: str, data: str, step: str) -> None:
        pairs = (pair.split("=", 1) for pair in properties.split(";") if "=" in pair)
        given = {name.strip().lower(): _unescape(value) for name, value in pairs}
        if command == "task.setvariable":
            output = to_boolean(_flag(given.get("isoutput", "false")))
            name = f"{step}.{given['variable']}" if output else given["variable"]
            self.variables.set(name, data, secret=to_boolean(_flag(given.get("issecret", "false"))))
            if output:
                self.outputs[name] = data
        elif command == "task.complete":
            self._explicit = given.get("result", "Succeeded")
        elif command == "task.logissue":
            self.records.issues.append((given["type"], self.variables.mask(data)))
        elif command == "task.uploadsummary":
            self.records.summaries.append((self.sources / data).read_text(encoding="utf-8"))
        elif command == "task.prependpath":
            self.prepend_path(Path(data))
        elif command == "task.setsecret":
            self.variables.hide(data)
        elif command == "build.addbuildtag":
            self.records.tags.append(data)
        else:
            raise RunError(f"unknown logging command {command}")


def _unescape(text: str) -> str:
    for escape, sign in _ESCAPES:
        text = text.replace(escape, sign)
    return text


def _flag(text: str) -> bool:
    """Return a YAML boolean, which arrives as a text."""
    return str(text).strip().lower() == "true"
