"""The inner loop elsewhere: the steps of the graph, each in the image that trains; it knows no cloud."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

import twoloops
from twoloops import config, git, lineage, registry, storage
from twoloops.contracts.graph import Graph, overlap
from twoloops.errors import ProjectError, RedVerdictError
from twoloops.inner_loop.evaluate import GREEN
from twoloops.inner_loop.rule import describe_verdict, failed_rules
from twoloops.paths import RELATIVE, paths
from twoloops.platforms.shared import plan
from twoloops.platforms.shared.objects import ObjectStore
from twoloops.platforms.shared.steps import ALWAYS

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

    def start(self, name: str, graph: Graph, parameters: dict[str, str]) -> str:
        """Start a run, once, and return its address.

        Args:
            name: of the attempt.
            graph: a step begins when those before it (`Graph.before`) have succeeded.
            parameters: PARAMETERS with their values.
        """

    def wait(self, address: str, tell: Callable[[str], None]) -> ProjectError | None:
        """Wait until a run has ended, and return what to tell people if it has not succeeded.

        Raises:
            KeyboardInterrupt: somebody pressed Ctrl-C.
        """


def submit(runner: Runner, graph: Graph, tell: Callable[[str], None]) -> None:
    """Run the inner loop elsewhere, wait, and leave here what a local run leaves.

    The same code and data under way already is taken up, and not started twice.

    Args:
        runner: the cloud's.
        graph: the steps.
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
    files = _inputs(runner, graph, tell)
    parts = [part for name, content in sorted(files.items()) for part in (name.encode(), content)]
    inputs = _digest([json.dumps(parameters, sort_keys=True).encode(), *parts])
    attempt = runner.find_attempt(inputs)
    run = f"{runner.home}/models/runs/{attempt.name}"
    address = attempt.address
    if address:
        tell(f"Run {attempt.name} is under way already; waiting for it.")
    else:
        for name, content in files.items():
            runner.store.upload_bytes(content, f"{run}/{name}")
        address = runner.start(attempt.name, graph, parameters | {RUN: run})
        tell(f"Run {attempt.name} has started: {run}")
    failure = runner.wait(address, tell)
    # A run has a folder of its own: a verdict in it was given by this run.
    if RELATIVE.verdict.as_posix() in _download_results(runner.store, run, graph):
        report_verdict(storage.read_json(paths().verdict, "evaluate"), tell)
    if failure:
        raise failure


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


def _inputs(runner: Runner, graph: Graph, tell: Callable[[str], None]) -> dict[str, bytes]:
    """Return the files that the steps start with: what git has of what they read, and the plan.

    What git has not is data. It is uploaded once, by its content, and the plan says where it lies. The engine is in
    the image.
    """
    root = paths().root
    content = yaml.safe_load(paths().params.read_text(encoding="utf-8"))
    source = content["data"]["source"]
    own = posixpath.normpath(source) if "://" not in source else source
    if graph.maker(own) is None:
        # The verbs read the table where it lies, and the model's lineage tells that place.
        content["data"]["source"] = locate_source(runner, source, tell)
        graph = graph.reading(own, content["data"]["source"], config.current().package)
    always = {name: (root / name).read_bytes() for name in ALWAYS if (root / name).exists()}
    given = [name for name in graph.sources if "://" not in name and name not in always and not _is_engine(root / name)]
    in_git, data = split_sources(root, given)
    return {
        **{name: (root / name).read_bytes() for name in in_git},
        **always,
        RELATIVE.params.as_posix(): yaml.safe_dump(content, sort_keys=False).encode(),
        plan.FILE: plan.Plan(graph, {name: locate_source(runner, name, tell) for name in data}).dump(),
    }


def _is_engine(path: Path) -> bool:
    return Path(twoloops.__file__).resolve().is_relative_to(path.resolve())


def split_sources(root: Path, sources: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the files of sources that git has, or would take, and those that it is told to ignore.

    Of a folder in which git has files, those alone are meant.

    Args:
        root: the project's folder.
        sources: files and folders in it.

    Raises:
        ProjectError: one is not there, or there is no git.
    """
    in_git: list[str] = []
    data: list[str] = []
    for source in sources:
        path = root / source
        if not path.exists():
            raise ProjectError(
                f"There is no {source}, which dvc.yaml lets a step read.", hint="Bring it, or correct it."
            )
        words = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", source)
        listed = git.ask(*words, folder=root)
        if listed is None:
            raise ProjectError("git does not say which files it has.", hint="Run this in the repository.")
        known = [name for name in listed.split("\0") if name and (root / name).is_file()]
        in_git += known
        if not known:
            files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
            data += [each.relative_to(root).as_posix() for each in files]
    return in_git, data


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


def _download_results(store: ObjectStore, run: str, graph: Graph) -> set[str]:
    """Download what the run has left and people read, as a local run leaves it, and return the names of the files.

    That is what lies in reports/, what git keeps of the steps' results, the judged model and the shipped one.
    """
    kept = [RELATIVE.reports.as_posix(), *(name for step in graph.steps for name in step.kept)]
    made = [name for step in graph.steps for name in step.writes]
    wanted = [name for name in made if any(overlap(name, each) for each in kept)]
    there = list(store.sizes(run))
    files = [name for name in there if any(name == each or name.startswith(f"{each}/") for each in wanted)]
    store.download(run, paths().root, files)
    for target, relative in ((paths().model, RELATIVE.model), (paths().shipped, RELATIVE.shipped)):
        model = f"{relative.as_posix()}/"
        if names := [name.removeprefix(model) for name in there if name.startswith(model)]:
            with storage.replacing(target) as new:
                store.download(f"{run}/{model.rstrip('/')}", new, names)
    return set(files)


def report_verdict(verdict: dict[str, Any], tell: Callable[[str], None]) -> None:
    """Tell the verdict as the verb `evaluate` does.

    Raises:
        RedVerdictError: it is red.
    """
    for line in describe_verdict(verdict):
        tell(line)
    tell(f"Verdict: {verdict['verdict']}")
    if verdict["verdict"] != GREEN:
        for line in failed_rules(verdict):
            tell(f"  - {line}")
        raise RedVerdictError("The verdict is red.", hint="reports/model_card.md has every demand of the gate.")
