"""The inner loop elsewhere: its steps are the project's verbs, in the image that trains; it knows no cloud."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from twoloops import config, lineage, params, registry, storage
from twoloops.errors import ProjectError, RedVerdictError
from twoloops.inner_loop.evaluate import GREEN, failed_rules
from twoloops.paths import RELATIVE, paths
from twoloops.platforms.shared.objects import ObjectStore
from twoloops.problem import data as problem

STEPS = ("prepare", "train", "evaluate", "register")
STALENESS = "staleness"
NEW_HOLDOUT = "--new-holdout"
TRACKING_URI = "MLFLOW_TRACKING_URI"
# What differs from run to run, and is given to each of them.
RUN, IMAGE, SERVE_IMAGE, CODE_VERSION, TRACKING = PARAMETERS = (
    "Run",
    "Image",
    "ServeImage",
    "CodeVersion",
    "TrackingUri",
)


@dataclass(frozen=True)
class Attempt:
    """A run of certain inputs, by its name; without an address it has not been started yet."""

    name: str
    address: str | None


class Runner(Protocol):
    """What a cloud does for a run of the loop."""

    @property
    def store(self) -> ObjectStore:
        """The cloud's object store."""

    @property
    def home(self) -> str:
        """The project's place there, a URL."""

    def default_tracking_uri(self) -> str | None:
        """Return the cloud's own MLflow server, if it has one."""

    def image(self, kind: str) -> str:
        """Return the image that trains or serves, of this very code; a kind of `shared.images`.

        Raises:
            ProjectError: nobody has pushed it.
        """

    def find_attempt(self, inputs: str) -> Attempt:
        """Return the run of these inputs that is under way, or the name of the next one; `inputs` is a digest."""

    def start(self, name: str, steps: list[list[str]], parameters: dict[str, str]) -> str:
        """Start a run, once, and return its address.

        Args:
            name: of the attempt.
            steps: verbs with their options; each step begins when the one before has succeeded.
            parameters: PARAMETERS with their values.
        """

    def wait(self, address: str, tell: Callable[[str], None]) -> ProjectError | None:
        """Wait until a run has ended, and return what to tell people if it has not succeeded.

        Raises:
            KeyboardInterrupt: somebody pressed Ctrl-C.
        """


def submit(runner: Runner, until: str | None, *, new_holdout: bool, tell: Callable[[str], None]) -> None:
    """Run the inner loop elsewhere, wait, and leave here what a local run leaves.

    The same code and data under way already is taken up, and not started twice.

    Args:
        runner: the cloud's.
        until: the last step; None: all.
        new_holdout: freeze a new holdout, and study afterwards how fast models age.
        tell: prints a line.

    Raises:
        ProjectError: something is missing, or a step failed; the last lines of its log are told.
        RedVerdictError: the verdict is red.
    """
    parameters = {
        IMAGE: runner.image("train"),
        SERVE_IMAGE: runner.image("serve"),
        CODE_VERSION: lineage.code_version(),
        TRACKING: choose_tracking_uri(runner.default_tracking_uri()),
    }
    steps = list_steps(until, new_holdout)
    files = _inputs(runner, tell)
    inputs = _digest([json.dumps([steps, parameters], sort_keys=True).encode(), *files.values()])
    attempt = runner.find_attempt(inputs)
    run = f"{runner.home}/models/runs/{attempt.name}"
    address = attempt.address
    if address:
        tell(f"Run {attempt.name} is under way already; waiting for it.")
    else:
        for name, content in files.items():
            runner.store.upload_bytes(content, f"{run}/{name}")
        address = runner.start(attempt.name, steps, parameters | {RUN: run})
        tell(f"Run {attempt.name} has started: {run}")
    failure = runner.wait(address, tell)
    # A run has a folder of its own: a verdict in it was given by this run.
    if RELATIVE.verdict.as_posix() in _download_results(runner.store, run):
        report_verdict(storage.read_json(paths().verdict, "evaluate"), tell)
    if failure:
        raise failure


def list_steps(until: str | None, new_holdout: bool) -> list[list[str]]:
    """Return the verbs with their options.

    Args:
        until: the last step; None: all.
        new_holdout: freeze a new holdout, and study how fast models age.
    """
    wanted = STEPS[: STEPS.index(until) + 1] if until else STEPS
    steps = [[name] for name in wanted]
    if new_holdout:
        steps[0].append(NEW_HOLDOUT)
        if problem.EVENT_TIME is not None:
            steps.append([STALENESS])
    return steps


def choose_tracking_uri(default: str | None) -> str:
    """Return where the steps register: what is set here, else the cloud's own server.

    Args:
        default: the cloud's own, if it has one.

    Raises:
        ProjectError: there is none that the steps reach, or its address holds a password.
    """
    uri = registry.server() or default
    if uri is None or uri.startswith(("sqlite:", "file:")):
        raise ProjectError(
            "The steps need an MLflow server to register in.",
            hint=f"Set {TRACKING_URI} to one that the platform reaches; or let bootstrap make the account's own: "
            "tracking_server_size in infra/README.md.",
        )
    if "@" in uri:
        raise ProjectError(
            f"{TRACKING_URI} holds a password, and all who may look at a job would read it.",
            hint="Take a server that knows the platform's roles, as the account's own does.",
        )
    return uri


def _inputs(runner: Runner, tell: Callable[[str], None]) -> dict[str, bytes]:
    """Return the files that the first step starts with: what git has and the image has not."""
    content = yaml.safe_load(paths().params.read_text(encoding="utf-8"))
    content["data"]["source"] = locate_source(runner, params.load().data.source, tell)
    files = {
        RELATIVE.params.as_posix(): yaml.safe_dump(content, sort_keys=False).encode(),
        config.FILE: (paths().root / config.FILE).read_bytes(),
    }
    if paths().frozen_holdout.exists():
        files[RELATIVE.frozen_holdout.as_posix()] = paths().frozen_holdout.read_bytes()
    return files


def locate_source(runner: Runner, source: str, tell: Callable[[str], None]) -> str:
    """Return where the steps read the data: a file of this machine is uploaded first, once.

    Args:
        runner: the cloud's.
        source: a path or a URL.
        tell: prints a line.

    Raises:
        ProjectError: it is neither one file nor a URL.
    """
    home = f"{runner.home}/data"
    if "://" in source:
        scheme = runner.home.partition("://")[0]
        if source.startswith(f"{scheme}://") and not source.startswith(f"{home}/"):
            tell(f"{source} is not in {home}: the role of the training must have been given the right to read it.")
        return source
    path = paths().root / source
    if not path.is_file():
        raise ProjectError(
            f"{source} is not a file: one file can be uploaded, or a URL read where it is.",
            hint=f"Put the data into {home}/ and let data.source in params.yaml name it.",
        )
    with path.open("rb") as file:
        name = hashlib.file_digest(file, "sha256").hexdigest() + "".join(path.suffixes)
    if not runner.store.exists(f"{home}/{name}"):
        tell(f"Uploading {source}")
        runner.store.upload(path, f"{home}/{name}")
    return f"{home}/{name}"


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def _download_results(store: ObjectStore, run: str) -> set[str]:
    """Download what the run has left, as a local run leaves it, and return the names of the files."""
    files = [name for name in store.sizes(run) if Path(name).is_relative_to(RELATIVE.reports)]
    holdout = RELATIVE.frozen_holdout.as_posix()
    files += [holdout] if store.exists(f"{run}/{holdout}") else []
    store.download(run, paths().root, files)
    model = f"{run}/{RELATIVE.model.as_posix()}"
    if names := list(store.sizes(model)):
        with storage.replacing(paths().model) as new:
            store.download(model, new, names)
    return set(files)


def report_verdict(verdict: dict[str, Any], tell: Callable[[str], None]) -> None:
    """Tell the verdict as the verb `evaluate` does.

    Raises:
        RedVerdictError: it is red.
    """
    for name, each in verdict["metrics"].items():
        tell(f"{name}: {each['value']:.4g} {each['unit']} ({each['low']:.4g} to {each['high']:.4g})")
    tell(f"Verdict: {verdict['verdict']}")
    if verdict["verdict"] != GREEN:
        for line in failed_rules(verdict):
            tell(f"  - {line}")
        raise RedVerdictError("The verdict is red.", hint="reports/model_card.md has every demand of the gate.")
