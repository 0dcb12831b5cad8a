"""Scoring on a schedule: a pipeline job of one step, which the schedule of the last environment's workspace starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twoloops import artifact, config, registry
from twoloops.contracts.release import Release
from twoloops.platforms.azure import assets, blobs, jobs, machines, rest
from twoloops.platforms.azure.account import check_made
from twoloops.platforms.azure.rest import explain_errors
from twoloops.platforms.shared.images import SERVE
from twoloops.platforms.shared.objects import upload_model
from twoloops.platforms.shared.scored import explain_nothing, find_source, read_results, target_of
from twoloops.registry import Version

PROGRAM = "python -m twoloops.platforms.azure.scoring_step"
BY_HAND = "by-hand"
STEP = "score"
EXAMPLE = "abfss://project@ACCOUNT.dfs.core.windows.net/data/..."
Json = dict[str, Any]


def _place() -> jobs.Place:
    return jobs.Place(config.current().last, "score", "serving")


def _schedule() -> str:
    return f"{_place().workspace}/schedules/{STEP}"


def schedule(version: Version) -> None:
    """Score with this version from now on.

    Args:
        version: a registered one.

    Raises:
        ProjectError: the tables are nowhere that the platform reads, or the image is not in the registry.
    """
    known, place, last = check_made(), _place(), config.current().last
    release = Release.of(version)
    with registry.download(release.uri, release.identity) as folder:
        source = find_source(folder, EXAMPLE)
        model = upload_model(blobs, known.home, folder)
    job = machines.load().scores
    step = jobs.step(
        place,
        image=assets.image(last, SERVE),
        values={
            "source": source,
            "results": f"{known.home}/predictions/{last}",
            "captures": f"{known.home}/captures/{last}",
            "model": model,
        },
        environment={"MODEL_VERSION": version.number, artifact.IDENTITY_VARIABLE: release.identity},
        job=job,
        program=PROGRAM,
    )
    content = {
        "displayName": f"{config.current().package} scores with version {version.number}",
        "isEnabled": True,
        "trigger": {"triggerType": "Cron", "expression": job.schedule, "timeZone": "UTC"},
        "action": {"actionType": "CreateJob", "jobDefinition": jobs.definition(place, {STEP: step}, STEP)},
    }
    with explain_errors("Making the schedule"):
        rest.change("PUT", _schedule(), {"properties": content})


def exists(environment: str) -> bool:
    """Say whether a schedule scores in this environment."""
    return environment == config.current().last and _find() is not None


def _find() -> Json | None:
    with explain_errors("Looking at the schedule"):
        return rest.find(_schedule())


def remove(environment: str) -> None:
    """Score no more in this environment."""
    if exists(environment):
        with explain_errors("Deleting the schedule"):
            rest.change("DELETE", _schedule())


def run(tell: Callable[[str], None]) -> dict[str, Any]:
    """Score now, as the schedule would, and wait; what is under way already is waited for.

    Args:
        tell: prints a line.

    Returns:
        Where the results are, and the run's summary.

    Raises:
        ProjectError: no version scores yet, or the step failed.
    """
    found = _find()
    if found is None:
        raise explain_nothing()
    place, target = _place(), target_of(check_made().home)
    attempt = jobs.find_attempt(place, BY_HAND)
    path = attempt.address
    if path is None:
        path = jobs.start(place, attempt.name, found["properties"]["action"]["jobDefinition"])
    failure = jobs.wait(path, target, tell)
    if failure:
        raise failure
    return read_results(blobs, target)
