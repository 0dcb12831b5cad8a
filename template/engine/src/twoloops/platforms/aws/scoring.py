"""Scoring on a schedule: a pipeline with one step, which the environment's schedule starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twoloops import artifact, config, registry
from twoloops.contracts.release import Release
from twoloops.errors import ProjectError
from twoloops.platforms.aws import bucket, images, machines, pipelines
from twoloops.platforms.aws.account import client, explain_errors, settings
from twoloops.platforms.shared.images import SERVE
from twoloops.platforms.shared.objects import upload_model
from twoloops.platforms.shared.scored import explain_nothing, find_source, read_results, target_of
from twoloops.registry import Version

ENTRYPOINT = ["python", "-m", "twoloops.platforms.aws.scoring_step"]
BY_HAND = "by-hand"
SCHEDULE = "score"
ON, OFF = "ENABLED", "DISABLED"
# What UpdateSchedule takes of what GetSchedule tells; what it is not given, it forgets.
KEPT = (
    "ActionAfterCompletion",
    "Description",
    "EndDate",
    "FlexibleTimeWindow",
    "KmsKeyArn",
    "ScheduleExpression",
    "ScheduleExpressionTimezone",
    "StartDate",
    "Target",
)


def schedule(version: Version) -> None:
    """Score with this version from now on: make or update the pipeline, and switch its schedule on.

    Args:
        version: a registered one.

    Raises:
        ProjectError: the tables are nowhere that the platform reads, the image is not in the registry, or
            the infrastructure of the environment is not there.
    """
    made, chosen = settings(), config.current()
    release = Release.of(version)
    with registry.download(release.uri, release.identity) as folder:
        source = find_source(folder, "s3://BUCKET/data/...")
        model = upload_model(bucket, made.home, folder)
    role = made.serving_role_arns[chosen.last]
    places = [f"{made.home}/{folder}/{chosen.last}" for folder in ("predictions", "captures")]
    step = pipelines.step(
        "score",
        image=images.reference(SERVE),
        entrypoint=ENTRYPOINT,
        arguments=[source, *places, model],
        environment={"MODEL_VERSION": version.number, artifact.IDENTITY_VARIABLE: release.identity},
        role=role,
        job=machines.load().scores,
    )
    pipelines.put(_pipeline(), role, pipelines.definition([step]))
    if not _switch(ON):
        raise ProjectError(
            f"{chosen.last} has no schedule yet.",
            hint=f"Apply its infrastructure first: 'uv run {chosen.package} infrastructure {chosen.last} --apply'.",
        )


def _pipeline() -> str:
    return f"{settings().environments[config.current().last]}--score"


def _switch(state: str) -> bool:
    """Switch the schedule on or off, and say whether there is one."""
    group = settings().environments[config.current().last]
    scheduler = client("scheduler")
    with explain_errors("Switching the schedule"):
        try:
            found = scheduler.get_schedule(GroupName=group, Name=SCHEDULE)
        except scheduler.exceptions.ResourceNotFoundException:
            return False
        if found["State"] != state:
            kept = {name: found[name] for name in KEPT if found.get(name) is not None}
            scheduler.update_schedule(GroupName=group, Name=SCHEDULE, State=state, **kept)
    return True


def exists(environment: str) -> bool:
    """Say whether a pipeline scores in this environment."""
    return environment == config.current().last and pipelines.exists(_pipeline())


def remove(environment: str) -> None:
    """Score no more in this environment: switch the schedule off, and delete the pipeline."""
    if environment == config.current().last:
        _switch(OFF)
        pipelines.remove(_pipeline())


def run(tell: Callable[[str], None]) -> dict[str, Any]:
    """Score now, as the schedule would, and wait; what is under way already is waited for.

    Args:
        tell: prints a line.

    Returns:
        Where the results are, and the run's summary.

    Raises:
        ProjectError: no version scores yet, or the step failed.
    """
    made = settings()
    if not exists(config.current().last):
        raise explain_nothing()
    attempt = pipelines.find_attempt(_pipeline(), BY_HAND)
    address = attempt.address or pipelines.start(_pipeline(), attempt.name, {})
    outcome = pipelines.wait(address, tell)
    if outcome.status != pipelines.SUCCEEDED:
        raise pipelines.explain_failure(outcome)
    return read_results(bucket, target_of(made.home))
