"""Scoring on a schedule: a CronJob of the last environment, which follows the champion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twoloops import artifact, config, registry
from twoloops.contracts.release import Release
from twoloops.platforms.kubernetes import images, jobs, machines, pods, store
from twoloops.platforms.kubernetes.api import explain_errors, namespaced
from twoloops.platforms.kubernetes.cluster import api, home, name, namespace
from twoloops.platforms.shared.images import SERVE
from twoloops.platforms.shared.objects import upload_model
from twoloops.platforms.shared.scored import explain_nothing, find_source, read_results, target_of
from twoloops.registry import Version

COMPONENT = ACCOUNT = "scoring"
PROGRAM = ["python", "-m", "twoloops.platforms.kubernetes.scoring_step"]
BY_HAND = "score-by-hand"


def schedule(version: Version) -> None:
    """Score with this version from now on.

    Args:
        version: a registered one.

    Raises:
        ProjectError: the tables are nowhere that the cluster reads, or the image is not in the registry.
    """
    last, job = config.current().last, machines.load().scores
    release = Release.of(version)
    with registry.download(release.uri, release.identity) as folder:
        source = find_source(folder, f"{home()}/data/...")
        model = upload_model(store, home(), folder)
    container = pods.container(
        "score",
        images.reference(SERVE),
        [source, *(f"{home()}/{place}/{last}" for place in ("predictions", "captures")), model],
        command=PROGRAM,
        environment={"MODEL_VERSION": version.number, artifact.IDENTITY_VARIABLE: release.identity},
        resources=job.resources,
        mounts={},
    )
    space, labels = namespace(last), pods.labels(COMPONENT)
    with explain_errors(f"Scheduling the scoring in {last}"):
        api().apply(
            _path(),
            {
                "apiVersion": "batch/v1",
                "kind": "CronJob",
                "metadata": {"name": _called(), "namespace": space, "labels": labels},
                "spec": {
                    "schedule": job.schedule,
                    "timeZone": job.time_zone,
                    "concurrencyPolicy": "Forbid",  # two runs would write the same results
                    "startingDeadlineSeconds": 3600,
                    "successfulJobsHistoryLimit": 3,
                    "failedJobsHistoryLimit": 3,
                    "jobTemplate": {
                        "metadata": {"labels": {**labels, **jobs.queue_label()}},
                        "spec": jobs.template(COMPONENT, ACCOUNT, [container], job),
                    },
                },
            },
        )


def _called() -> str:
    return f"{name()[:40]}-score"  # what a CronJob makes has eleven characters more


def _path() -> str:
    return namespaced("batch/v1", "cronjobs", namespace(config.current().last), _called())


def exists(environment: str) -> bool:
    """Say whether tables are scored in this environment."""
    if environment != config.current().last:
        return False
    with explain_errors("Looking at the schedule"):
        return api().find(_path()) is not None


def remove(environment: str) -> None:
    """Score no more in this environment; what is under way ends with it."""
    if environment == config.current().last:
        with explain_errors("Ending the schedule"):
            api().delete(_path())


def run(tell: Callable[[str], None]) -> dict[str, Any]:
    """Score now, as the schedule would, and wait; what was started by hand already is waited for.

    Args:
        tell: prints a line.

    Returns:
        Where the results are, and the run's summary.

    Raises:
        ProjectError: no version scores yet, or the step failed.
    """
    last = config.current().last
    space, cluster = namespace(last), api()
    with explain_errors("Looking at the schedule"):
        found = cluster.find(_path())
        if found is None:
            raise explain_nothing()
        attempt = jobs.find_attempt(cluster, space, BY_HAND)
        if attempt.address is None:
            jobs.start(cluster, space, attempt.name, BY_HAND, COMPONENT, found["spec"]["jobTemplate"]["spec"])
    ended = jobs.wait(cluster, space, attempt.name, tell)
    if not ended.succeeded:
        raise jobs.explain_failure(attempt.name, ended)
    return read_results(store, target_of(home()))
