"""Jobs of the cluster: containers that run one after the other, from their start to their end.

All but the last container of a Job are its init containers: each begins when the one before has succeeded, and none
begins after a failure. So a chain of steps needs no engine of pipelines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode

from twoloops.errors import ProjectError
from twoloops.platforms.kubernetes import pods
from twoloops.platforms.kubernetes.api import Api, Object, RefusedError, explain_errors, namespaced
from twoloops.platforms.kubernetes.cluster import settings
from twoloops.platforms.kubernetes.machines import Job
from twoloops.platforms.shared.loop import Attempt

GROUP, KIND = "batch/v1", "jobs"
INPUTS = "twoloops/inputs"  # the label that says what goes into a Job
QUEUE = "kueue.x-k8s.io/queue-name"
KEPT_SECONDS = 7 * 24 * 3600  # so long an ended Job can be looked at
LOG_LINES = 30
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between two looks at a Job
STOP_GRACE_SECONDS = 5.0  # in which a second Ctrl-C leaves a Job alone
NO_IMAGE = {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
Tell = Callable[[str], None]


def template(component: str, account: str, containers: Sequence[Object], job: Job) -> Object:
    """Return the specification of a Job.

    Args:
        component: what it is for: training or scoring.
        account: the service account.
        containers: from `pods.container`, in their order.
        job: what the pod gets.
    """
    return {
        "backoffLimit": 0,  # a step that fails fails again; what was interrupted is started by a person or a schedule
        "activeDeadlineSeconds": job.seconds,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        **({"suspend": True} if settings().queue else {}),  # Kueue lets it begin
        "template": {
            "metadata": {"labels": pods.labels(component)},
            "spec": pods.spec(
                account,
                containers[-1:],
                [],
                space=job.disk,
                restartPolicy="Never",
                **({"initContainers": list(containers[:-1])} if containers[:-1] else {}),
            ),
        },
    }


def queue_label() -> dict[str, str]:
    """Return the label by which Kueue lets a Job wait, where the project has a queue."""
    queue = settings().queue
    return {QUEUE: queue} if queue else {}


def find_attempt(api: Api, namespace: str, inputs: str) -> Attempt:
    """Return the Job of these inputs that is under way, or the name of the next one.

    Args:
        api: the cluster.
        namespace: of the Jobs.
        inputs: a digest of what goes into it, or a name.
    """
    taken = 0
    for each in api.list(namespaced(GROUP, KIND, namespace), **{INPUTS.replace("/", "__"): inputs}):
        called = each["metadata"]["name"]
        if _end(each) is None and "deletionTimestamp" not in each["metadata"]:
            return Attempt(called, called)
        number = called.rpartition("-")[2]
        taken = max(taken, int(number) if number.isdigit() else 0)
    return Attempt(f"{inputs}-{taken + 1}", None)


def start(api: Api, namespace: str, called: str, inputs: str, component: str, spec: Object) -> str:
    """Start a Job, once, and return its name.

    Args:
        api: the cluster.
        namespace: of the Job.
        called: its name.
        inputs: what goes into it, by which it is found again.
        component: what it is for.
        spec: from `template`.
    """
    labels = {**pods.labels(component), INPUTS: inputs, **queue_label()}
    metadata = {"name": called, "namespace": namespace, "labels": labels}
    api.create(
        namespaced(GROUP, KIND, namespace), {"apiVersion": GROUP, "kind": "Job", "metadata": metadata, "spec": spec}
    )
    return called


@dataclass(frozen=True)
class Ended:
    """How a Job has ended."""

    succeeded: bool
    reason: str = ""
    step: str | None = None  # the container that failed
    log: Sequence[str] = ()


def wait(api: Api, namespace: str, called: str, tell: Tell) -> Ended:
    """Wait until a Job has ended, and tell of each container.

    Ctrl-C ends the Job; a second one, soon after, leaves it alone.

    Raises:
        KeyboardInterrupt: somebody pressed Ctrl-C.
        ProjectError: the cluster has no image or no room, and waiting does not help.
    """
    try:
        return _watch(api, namespace, called, tell)
    except KeyboardInterrupt:
        tell(
            f"Ending the job {called} in {STOP_GRACE_SECONDS:.0f} seconds. Ctrl-C once more leaves it alone; the same "
            "verb then takes it up again."
        )
        time.sleep(STOP_GRACE_SECONDS)
        with explain_errors(f"Ending the job {called}"):
            api.delete(namespaced(GROUP, KIND, namespace, called))
        tell("It is being ended.")
        raise


def _watch(api: Api, namespace: str, called: str, tell: Tell) -> Ended:
    told: set[str] = set()
    pause = FIRST_PAUSE
    while True:
        with explain_errors(f"Looking at the job {called}"):
            # First the whole, then its pod: so that nothing of an ended Job is missed.
            found = api.find(namespaced(GROUP, KIND, namespace, called))
            running = api.list(namespaced("v1", "pods", namespace), job_name=called)
        if found is None:
            return Ended(False, "somebody has deleted it")
        pod = running[-1] if running else None
        for line in _news(pod, told):
            tell(line)
        end = _end(found)
        if end:
            return _ended(api, namespace, end, pod)
        _check(found, pod)
        time.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)


def _end(job: Object) -> Mapping[str, Any] | None:
    """Return the condition by which a Job has ended."""
    conditions = job.get("status", {}).get("conditions", [])
    return next(
        (each for each in conditions if each["type"] in ("Complete", "Failed") and each["status"] == "True"), None
    )


def _containers(pod: Object | None) -> Iterator[Mapping[str, Any]]:
    state = (pod or {}).get("status", {})
    yield from state.get("initContainerStatuses", [])
    yield from state.get("containerStatuses", [])


def _news(pod: Object | None, told: set[str]) -> Iterator[str]:
    for each in _containers(pod):
        called, state = each["name"], each.get("state", {})
        if ("running" in state or "terminated" in state) and f"{called} begins" not in told:
            told.add(f"{called} begins")
            yield f"{called}: has begun in the pod {pod['metadata']['name'] if pod else ''}"
        if "terminated" in state and f"{called} ends" not in told:
            told.add(f"{called} ends")
            yield f"{called}: {'succeeded' if state['terminated']['exitCode'] == 0 else 'failed'}"


def _ended(api: Api, namespace: str, end: Mapping[str, Any], pod: Object | None) -> Ended:
    if end["type"] == "Complete":
        return Ended(True)
    failed = next((each for each in _containers(pod) if _exit_code(each)), None)
    if pod is None or failed is None:
        return Ended(False, str(end.get("message") or end.get("reason")))
    state = failed["state"]["terminated"]
    why = (
        "it wanted more memory than it has" if state.get("reason") == "OOMKilled" else f"exit code {state['exitCode']}"
    )
    if end.get("reason") == "DeadlineExceeded":
        why = "it took longer than infra/machines.yaml allows"
    return Ended(False, why, failed["name"], read_log(api, namespace, pod["metadata"]["name"], failed["name"]))


def _exit_code(status: Mapping[str, Any]) -> int:
    return int(status.get("state", {}).get("terminated", {}).get("exitCode", 0))


def _check(job: Object, pod: Object | None) -> None:
    """Raise where a Job does not begin, and waiting does not help."""
    for each in _containers(pod):
        waiting = each.get("state", {}).get("waiting", {})
        if waiting.get("reason") in NO_IMAGE:
            raise ProjectError(
                f"The cluster cannot pull the image of {each['name']}: {waiting.get('message', waiting['reason'])}",
                hint="May its nodes read the registry? image_pull_secret in infra/README.md names a login.",
            )


def read_log(api: Api, namespace: str, pod: str, container: str) -> list[str]:
    """Return the last lines that a container has printed; none where they cannot be had."""
    query = urlencode({"container": container, "tailLines": LOG_LINES})
    with suppress(RefusedError, OSError, HTTPException):
        answer = api.send("GET", f"{namespaced('v1', 'pods', namespace, pod, 'log')}?{query}")
        if answer.status == 200:
            return answer.content.decode(errors="replace").splitlines()
    return []


def explain_failure(called: str, ended: Ended) -> ProjectError:
    """Return the error that tells people why a Job did not succeed."""
    lines = "".join(f"\n  {line}" for line in ended.log)
    if ended.step is None:
        return ProjectError(f"The job {called} failed: {ended.reason}", hint="The same verb starts another one.")
    return ProjectError(
        f"The step {ended.step} failed on the platform: {ended.reason}{lines}",
        hint=f"The whole log: kubectl logs job/{called} --container {ended.step}. Put it right, and run the same verb "
        "again.",
    )
