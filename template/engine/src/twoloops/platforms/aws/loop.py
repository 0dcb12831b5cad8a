"""The inner loop on the platform: a pipeline whose steps are the project's verbs, in the image that trains."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from twoloops import config, lineage, params, registry, storage
from twoloops.errors import ProjectError, RedVerdictError
from twoloops.inner_loop.evaluate import GREEN, failed_rules
from twoloops.paths import paths
from twoloops.platforms.aws import bucket, images, machines, packages, pipelines
from twoloops.platforms.aws.account import settings
from twoloops.problem import data as problem

STEPS = ("prepare", "train", "evaluate", "register")
STALENESS = "staleness"
NEW_HOLDOUT = "--new-holdout"
# What differs from run to run. All else is the pipeline's definition.
PARAMETERS = ("Run", "Image", "ServeImage", "CodeVersion", "TrackingUri")
TRACKING_URI = "MLFLOW_TRACKING_URI"


def submit(until: str | None, *, new_holdout: bool, tell: Callable[[str], None]) -> None:
    """Run the inner loop on the platform, wait, and leave here what a local run leaves.

    The same code and data under way already is taken up, and not started twice.

    Args:
        until: the last step; None: all.
        new_holdout: freeze a new holdout, and study afterwards how fast models age.
        tell: prints a line.

    Raises:
        ProjectError: something is missing, or a step failed; the last lines of its log are told.
        RedVerdictError: the verdict is red.
    """
    made = settings()
    parameters = {
        "Image": images.reference(images.TRAIN),
        "ServeImage": images.reference(images.SERVE),
        "CodeVersion": lineage.code_version(),
        "TrackingUri": _tracking_uri(),
    }
    steps = _steps(until, new_holdout)
    files = _inputs(tell)
    inputs = _digest([json.dumps([steps, parameters], sort_keys=True).encode(), *files.values()])
    attempt = pipelines.attempt(made.training_pipeline, inputs)
    run = f"s3://{made.bucket}/models/runs/{attempt.name}"
    address = attempt.address
    if address:
        tell(f"Run {attempt.name} is under way already; waiting for it.")
    else:
        for name, content in files.items():
            bucket.upload_bytes(content, f"{run}/{name}")
        pipelines.put(made.training_pipeline, made.training_role_arn, _definition(steps))
        address = pipelines.start(made.training_pipeline, attempt.name, parameters | {"Run": run})
        tell(f"Run {attempt.name} has started: {run}")
    outcome = pipelines.wait(address, tell)
    # A run has a folder of its own: a verdict in it was given by this run.
    if paths().verdict.as_posix() in _bring(run):
        _judge(storage.read_json(paths().verdict, "evaluate"), tell)
    if outcome.status != pipelines.SUCCEEDED:
        raise pipelines.failure(outcome)


def _steps(until: str | None, new_holdout: bool) -> list[list[str]]:
    """Return the verbs with their options."""
    wanted = STEPS[: STEPS.index(until) + 1] if until else STEPS
    steps = [[name] for name in wanted]
    if new_holdout:
        steps[0].append(NEW_HOLDOUT)
        if problem.EVENT_TIME is not None:
            steps.append([STALENESS])
    return steps


def _definition(steps: list[list[str]]) -> dict[str, Any]:
    made, job = settings(), machines.load().training
    environment = {
        TRACKING_URI: pipelines.parameter("TrackingUri"),
        lineage.CODE_VERSION: pipelines.parameter("CodeVersion"),
        packages.SERVE_IMAGE: pipelines.parameter("ServeImage"),
        packages.GROUP: made.model_package_group,
    }
    return pipelines.definition(
        [
            pipelines.step(
                words[0],
                image=pipelines.parameter("Image"),
                arguments=[pipelines.parameter("Run"), *words],
                environment=environment,
                role=made.training_role_arn,
                job=job,
                after=steps[place - 1][0] if place else None,
            )
            for place, words in enumerate(steps)
        ],
        PARAMETERS,
    )


def _tracking_uri() -> str:
    """Return where the steps register: what is set here, else the account's own server."""
    uri = registry.server() or settings().tracking_uri
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


def _inputs(tell: Callable[[str], None]) -> dict[str, bytes]:
    """Return the files that the first step starts with: what git has and the image has not."""
    content = yaml.safe_load(paths().params.read_text(encoding="utf-8"))
    content["data"]["source"] = _source(params.load().data.source, tell)
    files = {
        paths().params.as_posix(): yaml.safe_dump(content, sort_keys=False).encode(),
        config.FILE: (paths().root / config.FILE).read_bytes(),
    }
    if paths().frozen_holdout.exists():
        files[paths().frozen_holdout.as_posix()] = paths().frozen_holdout.read_bytes()
    return files


def _source(source: str, tell: Callable[[str], None]) -> str:
    """Return where the steps read the data: a file of this machine is uploaded first, once."""
    home = f"s3://{settings().bucket}/data"
    if "://" in source:
        if source.startswith("s3://") and not source.startswith(f"{home}/"):
            tell(f"{source} is not in {home}: the role of the training must have been given the right to read it.")
        return source
    path = Path(source)
    if not path.is_file():
        raise ProjectError(
            f"{source} is not a file: one file can be uploaded, or a URL read where it is.",
            hint=f"Put the data into {home}/ and let data.source in params.yaml name it.",
        )
    with path.open("rb") as file:
        name = hashlib.file_digest(file, "sha256").hexdigest() + "".join(path.suffixes)
    if not bucket.exists(f"{home}/{name}"):
        tell(f"Uploading {source}")
        bucket.upload(path, f"{home}/{name}")
    return f"{home}/{name}"


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def _bring(run: str) -> set[str]:
    """Bring what the run has left, as a local run leaves it, and return the names of the files."""
    files = [name for name in bucket.sizes(run) if Path(name).is_relative_to(paths().reports)]
    files += [name for name in [paths().frozen_holdout.as_posix()] if bucket.exists(f"{run}/{name}")]
    bucket.download(run, Path(), files)
    model = f"{run}/{paths().model.as_posix()}"
    if names := list(bucket.sizes(model)):
        with storage.replacing(paths().model) as new:
            bucket.download(model, new, names)
    return set(files)


def _judge(verdict: dict[str, Any], tell: Callable[[str], None]) -> None:
    """Tell the verdict as the verb `evaluate` does."""
    for name, each in verdict["metrics"].items():
        tell(f"{name}: {each['value']:.4g} {each['unit']} ({each['low']:.4g} to {each['high']:.4g})")
    tell(f"Verdict: {verdict['verdict']}")
    if verdict["verdict"] != GREEN:
        for line in failed_rules(verdict):
            tell(f"  - {line}")
        raise RedVerdictError("The verdict is red.", hint="reports/model_card.md has every demand of the gate.")
