"""Services of the cluster: what each environment runs, and how that changes.

Three kinds of things lie behind each other, and this module alone makes them:

    ConfigMap    deployment.json: the version that answers, and perhaps a canary; named after its content, and immutable
    workload     pods that have this very ConfigMap: a Deployment, or KServe's InferenceService, which makes one
    Service      one address for the pods

A change is a rolling update: new pods come up beside the old ones, which answer until then. Each pod shares requests
between the version and its canary by itself, to the exact share, on any cluster. What was cut off is taken up by the
same call; what does not come up is taken back.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode

from twoloops.contracts.release import Deployment, Release, Status, Traffic, UnfitError
from twoloops.errors import ProjectError
from twoloops.platforms.kubernetes import images, machines, pods, store, workloads
from twoloops.platforms.kubernetes.api import Api, Object, RefusedError, explain_errors, namespaced, own_refusal
from twoloops.platforms.kubernetes.cluster import api, home, name, namespace
from twoloops.platforms.kubernetes.connection import Endpoint
from twoloops.platforms.kubernetes.workloads import COMPONENT, CONFIGURATION, FILE, Workload
from twoloops.platforms.shared.images import SERVE
from twoloops.platforms.shared.objects import store_release
from twoloops.platforms.shared.traffic import add, traffic_of

PAUSE_SECONDS = 0.5  # between two looks at a change
GRACE_SECONDS = 60.0  # after which a change that should have failed by itself is given up
LOG_LINES = 10
# Why a container waits, where waiting longer does not help.
NO_IMAGE = {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
NO_START = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
RESTARTS = 2  # after which a container is taken for one that does not come up


@dataclass(frozen=True)
class Place:
    """Where an environment's service lies in the cluster."""

    environment: str
    api: Api
    namespace: str
    workload: Workload

    @property
    def configurations(self) -> str:
        """The path of the ConfigMaps."""
        return namespaced("v1", "configmaps", self.namespace)

    @property
    def deployment(self) -> str:
        """The path of the Deployment whose pods answer."""
        return namespaced("apps/v1", "deployments", self.namespace, self.workload.deployment)

    def find_workload(self) -> Object | None:
        """Return what deployments make."""
        return self.api.find(self.workload.path(self.namespace))

    def pods(self, configuration: str | None) -> list[Object]:
        """Return the pods that are to answer, of one configuration or of all.

        One that was told to end is not among them, and none that a node has given up: another takes its place.
        """
        listed = self.api.list(namespaced("v1", "pods", self.namespace), **_selector())
        return [
            pod
            for pod in listed
            if "deletionTimestamp" not in pod["metadata"]
            and pod.get("status", {}).get("phase") not in ("Failed", "Succeeded")
            and configuration in (None, pod["metadata"].get("annotations", {}).get(CONFIGURATION))
        ]

    def ask(self, pod: Object, path: str) -> tuple[int, bytes] | None:
        """Ask a pod, and return the status and the body of its answer; None when it does not answer."""
        where = namespaced("v1", "pods", self.namespace, f"{pod['metadata']['name']}:{workloads.PORT}", "proxy")
        with suppress(OSError, HTTPException):
            answer = self.api.send("GET", where + path)
            if own_refusal(answer) is None:
                return answer.status, answer.content
        return None

    def ready(self, pod: Object) -> dict[str, Any] | None:
        """Return what a pod says of itself, or None when it does not answer."""
        found = self.ask(pod, "/health/ready")
        said: dict[str, Any] | None = json.loads(found[1]) if found and found[0] in (200, 503) else None
        return said


def _place(environment: str) -> Place:
    return Place(environment, api(), namespace(environment), workloads.chosen())


def _selector() -> dict[str, str]:
    return {"app.kubernetes.io__name": name(), "app.kubernetes.io__component": COMPONENT}


# ------------------------------------------------------------------ what is there


def deployment(environment: str) -> Deployment | None:
    """Return what the environment was last told to run, or None."""
    place = _place(environment)
    with explain_errors(f"Looking what {environment} runs"):
        found = place.find_workload()
        return _read(place, place.workload.configuration(found)) if found else None


def _read(place: Place, configuration: str | None) -> Deployment:
    """Return what a configuration means."""
    found = place.api.find(f"{place.configurations}/{configuration}") if configuration else None
    if found is None:
        raise ProjectError(
            f"The {place.workload.kind} {name()} in {place.namespace} is not as the verb 'deploy' makes it: somebody "
            "else has made it.",
            hint="Delete it with kubectl, and deploy again.",
        )
    content = json.loads(found["data"][FILE])
    stable, canary = content["stable"], content["canary"]
    if canary is None:
        return Deployment(Release(**stable))
    share = canary.pop("share")
    return Deployment(Release(**stable), Release(**canary), share)


def status(environment: str) -> Status | None:
    """Return what the environment's service says of itself, or None when there is none, or it is stopped."""
    place = _place(environment)
    with explain_errors(f"Looking what {environment} runs"):
        made, found = place.find_workload(), place.api.find(place.deployment)
        if made is None or found is None or not found["spec"].get("replicas"):
            return None
        runs = _read(place, place.workload.configuration(made))
        said = [answer for pod in place.pods(place.workload.configuration(made)) if (answer := place.ready(pod))]
        return Status(
            ready=any(each["ready"] for each in said),
            stable=runs.stable.version,
            canary=runs.canary.version if runs.canary else None,
            share=runs.share,
            problem=_problem(found, said),
        )


def _problem(found: Object, said: list[dict[str, Any]]) -> str | None:
    """Return why the service does not run what it was told to, as far as the cluster knows."""
    for each in said:
        if each["problem"]:
            return str(each["problem"])
    if condition := _condition(found, "Progressing", "False"):
        return f"the last change does not come up: {condition.get('message', condition.get('reason'))}"
    if who := workloads.changed_by_hand(found):
        return f"{who}; 'deploy' puts it back"
    return None


def _condition(found: Object, kind: str, status: str) -> Mapping[str, Any] | None:
    conditions = found.get("status", {}).get("conditions", [])
    return next((each for each in conditions if (each["type"], each["status"]) == (kind, status)), None)


def endpoint(environment: str) -> Endpoint:
    """Return where the environment's service answers.

    Raises:
        ProjectError: it does not run.
    """
    place = _running(environment)
    return Endpoint(place.api, namespaced("v1", "services", place.namespace, f"{place.workload.service}:80", "proxy"))


def _running(environment: str) -> Place:
    place = _place(environment)
    with explain_errors(f"Looking what {environment} runs"):
        found = place.api.find(place.deployment)
    if found is None or not found["spec"].get("replicas"):
        raise ProjectError(
            f"No service runs in {environment}.", hint=f"Start it with the verb 'deploy --to {environment}'."
        )
    return place


def traffic(environment: str) -> dict[str, Traffic]:
    """Return what the pods that run now have counted for each version since they started.

    Raises:
        ProjectError: there is no service, or no pod answers.
    """
    place = _running(environment)
    with explain_errors(f"Asking the pods of {environment}"):
        made = place.find_workload()
        running = place.pods(place.workload.configuration(made) if made else None)
        answers = [answer for pod in running if (answer := place.ask(pod, "/metrics"))]
    if not answers:
        raise ProjectError(
            f"The service in {environment} does not answer.", hint="The verb 'status' tells what runs where."
        )
    return add(traffic_of(content.decode()) for _, content in answers)


def exists(environment: str) -> bool:
    """Say whether a service runs in the environment, well or not."""
    place = _place(environment)
    with explain_errors(f"Looking what {environment} runs"):
        found = place.api.find(place.deployment)
    return bool(found and found["spec"].get("replicas"))


# ------------------------------------------------------------------ what is changed


def deploy(environment: str, wanted: Deployment) -> None:
    """Let the environment run `wanted`, and return when every pod does. It can be repeated at any time.

    Raises:
        UnfitError: a model does not come up; what ran before goes on.
        ProjectError: an artifact, the image or room in the cluster cannot be had, or it refuses.
    """
    place = _place(environment)
    size = machines.load().serving[environment]
    image = images.reference(SERVE)
    for release in filter(None, (wanted.stable, wanted.canary)):
        store_release(store, home(), release)
    with explain_errors(f"Deploying in {environment}"):
        before, live = place.find_workload(), place.api.find(place.deployment)
        configuration = _write_configuration(place, wanted)
        template = workloads.template(environment, configuration, image, size)
        place.workload.apply(place.api, place.namespace, template, size, _keeps_count(live, size))
        try:
            _wait(place, configuration, wanted)
        except ProjectError:
            _take_back(place, before, configuration)
            raise
        _clear(place, configuration)


def _keeps_count(live: Object | None, size: machines.Service) -> bool:
    """Say whether the autoscaler's number of pods stays: it starts nothing that is stopped."""
    return size.scales and bool(live and live["spec"].get("replicas"))


def _write_configuration(place: Place, wanted: Deployment) -> str:
    """Make the ConfigMap of a deployment, unless it is there, and return its name."""
    canary = {**asdict(wanted.canary), "share": wanted.share} if wanted.canary else None
    text = json.dumps({"stable": asdict(wanted.stable), "canary": canary}, sort_keys=True)
    called = f"{name()}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    place.api.create(
        place.configurations,
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": called, "namespace": place.namespace, "labels": pods.labels(COMPONENT)},
            "immutable": True,
            "data": {FILE: text},
        },
    )
    return called


def _take_back(place: Place, before: Object | None, failed: str) -> None:
    """Let run again what ran before a change that failed: its pods are still there, and the new ones go.

    Args:
        place: the environment's.
        before: what ran.
        failed: the configuration of the change; nothing answers with it any more afterwards.
    """
    if before is None:
        remove(place.environment)
        return
    place.workload.restore(place.api, place.namespace, before)
    runs = place.workload.configuration(before)
    if runs != failed:
        _wait_until_gone(place, failed)
    _clear(place, runs)


def _wait_until_gone(place: Place, configuration: str | None) -> None:
    """Wait until the pods of a configuration, or all, have been told to end: requests reach them no more."""
    deadline = time.monotonic() + GRACE_SECONDS
    while place.pods(configuration) and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)


def _clear(place: Place, used: str | None) -> None:
    """Delete the configurations that nothing uses any more."""
    for each in place.api.list(place.configurations, **_selector()):
        if each["metadata"]["name"] != used:
            place.api.delete(f"{place.configurations}/{each['metadata']['name']}")


def stop(environment: str) -> bool:
    """End the pods, and return whether there were any; what they were to run stays known."""
    place = _place(environment)
    if not exists(environment):
        return False
    with explain_errors(f"Stopping the service in {environment}"):
        place.workload.stop(place.api, place.namespace)
        _wait_until_gone(place, None)
    return True


def remove(environment: str) -> None:
    """Delete the environment's service, and all that this module made for it."""
    place = _place(environment)
    with explain_errors(f"Deleting the service in {environment}"):
        place.workload.delete(place.api, place.namespace)
        _clear(place, None)


# ------------------------------------------------------------------ waiting


def _wait(place: Place, configuration: str, wanted: Deployment) -> None:
    """Wait until every pod runs a configuration, and no other pod is there.

    That the cluster says so is not enough: a pod whose canary cannot be loaded answers with the other version.

    Raises:
        UnfitError: a model does not come up.
        ProjectError: there is no image or no room, or it takes too long.
    """
    deadline = time.monotonic() + workloads.PROGRESS_SECONDS + GRACE_SECONDS
    while True:
        found, running = place.api.find(place.deployment), place.pods(configuration)
        settled = found is not None and _is_settled(found, configuration, len(running))
        said = [place.ready(pod) for pod in running] if settled else []
        _check_answers(place, said)
        models = [wanted.stable.identity, wanted.canary.identity if wanted.canary else None]
        if said and all(each and _identities(each) == models for each in said):
            return
        _check_pods(place, running)
        if found is not None and _is_seen(found, configuration):
            _check_conditions(place, found, running)
        if time.monotonic() > deadline:
            raise ProjectError(
                f"The change of {place.environment} has taken too long, and is taken back.",
                hint=f"'kubectl --namespace {place.namespace} describe pods' tells what it waits for.",
            )
        time.sleep(PAUSE_SECONDS)


def _is_seen(found: Object, configuration: str) -> bool:
    """Say whether the cluster has begun with a change: until then it tells of the one before."""
    annotations = found["spec"]["template"]["metadata"].get("annotations", {})
    seen = found.get("status", {}).get("observedGeneration", 0) >= found["metadata"]["generation"]
    return annotations.get(CONFIGURATION) == configuration and seen


def _is_settled(found: Object, configuration: str, count: int) -> bool:
    state, wanted = found.get("status", {}), found["spec"].get("replicas", 1)
    return (
        _is_seen(found, configuration)
        and [state.get(each, 0) for each in ("replicas", "updatedReplicas", "availableReplicas")] == [wanted] * 3
        and count == wanted
    )


def _identities(said: Mapping[str, Any]) -> list[str | None]:
    return [(said[role] or {}).get("identity") for role in ("stable", "canary")]


def _check_answers(place: Place, said: list[dict[str, Any] | None]) -> None:
    for each in said:
        if each and each["problem"]:
            raise UnfitError(
                f"The service in {place.environment} refuses what it was told to run: {each['problem']}",
                hint="What ran before goes on. 'explain' and 'predict' show what the version does.",
            )


def _check_pods(place: Place, running: list[Object]) -> None:
    """Raise when a pod does not come up, and waiting does not help."""
    for pod in running:
        for container, state in _containers(pod):
            waiting = state.get("state", {}).get("waiting", {})
            if waiting.get("reason") in NO_IMAGE:
                raise ProjectError(
                    f"The cluster cannot pull the image for {place.environment}: "
                    f"{waiting.get('message', waiting['reason'])}",
                    hint="May its nodes read the registry? image_pull_secret in infra/README.md names a login.",
                )
            if waiting.get("reason") in NO_START or state.get("restartCount", 0) >= RESTARTS:
                lines = read_log(place, pod, container)
                raise UnfitError(
                    f"The pods of {place.environment} do not come up: {container} "
                    f"{waiting.get('message') or 'ends again and again'}" + "".join(f"\n  {line}" for line in lines),
                    hint="What ran before goes on. Put it right, and run the same verb again.",
                )


def _containers(pod: Object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    state = pod.get("status", {})
    for each in (*state.get("initContainerStatuses", []), *state.get("containerStatuses", [])):
        yield each["name"], each


def _check_conditions(place: Place, found: Object, running: list[Object]) -> None:
    if refused := _condition(found, "ReplicaFailure", "True"):
        raise ProjectError(
            f"The cluster makes no pods for {place.environment}: {refused.get('message', refused.get('reason'))}",
            hint="If a quota is used up: ask for more, or set surge: false in infra/machines.yaml, which replaces one "
            "pod after the other.",
        )
    late = _condition(found, "Progressing", "False")
    if late and late.get("reason") == "ProgressDeadlineExceeded":
        why = next((reason for pod in running if (reason := _why_pending(pod))), late.get("message", ""))
        raise ProjectError(
            f"The pods of {place.environment} have not come up in {workloads.PROGRESS_SECONDS} seconds: {why}",
            hint="Where there is no room: ask for less in infra/machines.yaml, or set surge: false.",
        )


def _why_pending(pod: Object) -> str | None:
    """Return why no node takes a pod, or what its containers wait for."""
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message", condition.get("reason")))
    for container, state in _containers(pod):
        waiting = state.get("state", {}).get("waiting")
        if waiting:
            return f"{container} waits: {waiting.get('message') or waiting.get('reason')}"
    return None


def read_log(place: Place, pod: Object, container: str) -> list[str]:
    """Return the last lines of a container, of its last run where it has begun anew; none where it has no log."""
    path = namespaced("v1", "pods", place.namespace, pod["metadata"]["name"], "log")
    for more in ({"previous": "true"}, {}):
        query = urlencode({"container": container, "tailLines": LOG_LINES, **more})
        with suppress(RefusedError, OSError, HTTPException):
            answer = place.api.send("GET", f"{path}?{query}")
            if answer.status == 200 and answer.content.strip():
                return answer.content.decode(errors="replace").splitlines()
    return []
