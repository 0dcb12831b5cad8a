"""Endpoints of Azure ML: what each environment runs, and how that changes.

Deployments lie side by side behind an endpoint. Each is named after what it consists of, and never changes: making one
again finds it, so what was cut off is taken up by the same call. A new one starts without requests, must answer, and
then gets its share of them; what gets none is deleted. The endpoint's tags say which is stable and which a canary.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError

from twoloops import config
from twoloops.contracts.client import SilentError
from twoloops.contracts.release import Deployment, Release, Status, Traffic, UnfitError
from twoloops.errors import ProjectError
from twoloops.platforms.azure import assets, blobs, machines, rest
from twoloops.platforms.azure.account import account, check_made, find_client_id, tags
from twoloops.platforms.azure.connection import Endpoint
from twoloops.platforms.azure.machines import Service
from twoloops.platforms.azure.rest import OperationError, explain_errors
from twoloops.platforms.shared.images import SERVE
from twoloops.platforms.shared.traffic import sum_traffic, traffic_of

STABLE, CANARY, SHARE = "stable", "canary", "share"  # tags of an endpoint
MODEL_FIELDS = {"version": "MODEL_VERSION", "identity": "MODEL_IDENTITY", "registered_at": "MODEL_REGISTERED_AT"}
COUNTED_SECONDS = 15.0  # so often a service tells what it has counted
SERVING = "serving"  # the identity of an environment's containers
PROJECT = "/app"  # in the image
SUCCEEDED, FAILED = "Succeeded", "Failed"
MOVING = {"Creating", "Updating", "Deleting", "Scaling"}
# Azure has no machine, or may give none: no fault of the version.
NO_MACHINES = {"OutOfCapacity", "OutOfQuota", "InsufficientCapacity", *rest.QUOTA}
START_SECONDS = 300  # in which a container must be ready
LEASE_SECONDS = 60
LOG_LINES = 8
OVERLOADED = 500
Json = dict[str, Any]


def deployment(environment: str) -> Deployment | None:
    """Return what the environment was last told to run, or None."""
    path = _path(environment)
    found = _find(path)
    return _deployment(path, found) if found else None


def deploy(environment: str, wanted: Deployment) -> None:
    """Let the environment run `wanted`, and return when it does.

    It can be repeated at any time: what is under way ends first, and what runs already is left as it is.

    Raises:
        UnfitError: a model does not come up, or does not answer; what ran before goes on.
        ProjectError: an artifact, the image or machines cannot be had, or Azure refuses.
    """
    path, size = _path(environment), machines.load().serving[environment]
    found = _wait_until_settled(path)
    contents = {STABLE: _content(environment, wanted.stable, size, size.count)}
    if wanted.canary:
        contents[CANARY] = _content(environment, wanted.canary, size, 1)
    chosen = {role: _name(content) for role, content in contents.items()}
    if found and wanted.canary is None:
        _drain_canary(path, found, wanted)
    if found is None:
        _change("PUT", path, _endpoint(environment), f"Making the endpoint {path.rpartition('/')[2]}")
    _keep_logs(path)
    for role, content in contents.items():
        _start(path, chosen[role], content, goes_on=bool(found and _roles(found)))
        _resize(path, chosen[role], content["sku"])
    share = _percent(wanted)
    weights = {chosen[STABLE]: 100 - share, **({chosen[CANARY]: share} if wanted.canary else {})}
    _move(path, weights, chosen, wanted.share if wanted.canary else 0.0)
    _clear(path, set(chosen.values()))


def status(environment: str) -> Status | None:
    """Return how the environment's service is, or None when there is none."""
    path = _path(environment)
    found = _find(path)
    runs = _deployment(path, found) if found else None
    if found is None or runs is None:
        return None
    roles, weights = _roles(found), found["properties"].get("traffic") or {}
    states = {role: _state(path, name) for role, name in roles.items()}
    bad = [f"{roles[role]} is {state}" for role, state in states.items() if state in (FAILED, "Deleting", None)]
    return Status(
        ready=states[STABLE] not in (FAILED, "Deleting", "Creating", None) and any(weights.values()),
        stable=runs.stable.version,
        canary=runs.canary.version if runs.canary else None,
        share=weights.get(roles.get(CANARY, ""), 0) / 100,
        problem="; ".join(bad) or None,
    )


def endpoint(environment: str) -> Endpoint:
    """Return where the environment's service answers.

    Raises:
        ProjectError: there is none.
    """
    return Endpoint(_running(environment)["properties"]["scoringUri"])


def traffic(environment: str) -> dict[str, Traffic]:
    """Return what the services of each version have counted since they started; late.

    Raises:
        ProjectError: there is no service, or its figures cannot be had.
    """
    found = _running(environment)
    runs = _deployment(_path(environment), found)
    versions = {each.version for each in (runs and runs.stable, runs and runs.canary) if each}
    counted: dict[str, Traffic] = {version: Traffic() for version in versions}
    for name in _roles(found).values():
        folder = _counters(environment, name)
        for file in blobs.sizes(folder):
            for version, figures in traffic_of(blobs.read_bytes(f"{folder}/{file}").decode()).items():
                if version in counted:
                    counted[version] = sum_traffic(counted[version], figures)
    return counted


def exists(environment: str) -> bool:
    """Say whether the environment has deployments, well or not."""
    path = _path(environment)
    return _find(path) is not None and bool(_list(path))


def stop(environment: str) -> None:
    """Take the machines away; the endpoint, its address and who may ask it stay."""
    path = _path(environment)
    if _wait_until_settled(path):
        _move(path, {}, {}, 0.0)
        _clear(path, set())


def remove(environment: str) -> None:
    """Delete the environment's endpoint, and all that this module made for it."""
    path = _path(environment)
    if _find(path):
        stop(environment)
        _change("DELETE", path, None, f"Deleting the endpoint {path.rpartition('/')[2]}")


@contextmanager
def lock(what: str) -> Iterator[None]:
    """Let nobody else change what runs, by a lease that ends soon when this process does not renew it.

    Raises:
        ProjectError: somebody else's change is under way.
    """
    held = blobs.blob(f"{check_made().home}/locks/deployment")
    with explain_errors("Taking the lock"):
        with suppress(ResourceExistsError):
            held.upload_blob(b"", overwrite=False)
        try:
            lease = held.acquire_lease(LEASE_SECONDS)
        except HttpResponseError as error:
            if error.status_code != 409:
                raise
            about = held.get_blob_properties().metadata
            raise ProjectError(
                f"{about.get('what', 'Another change')} is under way since {about.get('since', 'a moment ago')}.",
                hint="Wait for its end, and run the same verb again. If that run is dead, the lock ends within "
                f"{LEASE_SECONDS} seconds.",
            ) from error
        held.set_blob_metadata({"what": what, "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}, lease=lease)
    over = threading.Event()

    def renew() -> None:
        while not over.wait(LEASE_SECONDS / 3):
            with suppress(AzureError):  # the next try, or the lease's end, tells
                lease.renew()

    thread = threading.Thread(target=renew, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with explain_errors("Giving the lock back"):
            lease.release()


# ------------------------------------------------------------------ what is there


def _path(environment: str) -> str:
    config.current().check_environment(environment)
    known = check_made()
    return f"{known.workspace(environment)}/onlineEndpoints/{known.endpoint(environment)}"


def _find(path: str) -> Json | None:
    with explain_errors(f"Looking at {path.rpartition('/')[2]}"):
        return rest.find(path)


def _list(path: str) -> list[Json]:
    with explain_errors(f"Looking at the deployments of {path.rpartition('/')[2]}"):
        return list(rest.pages(f"{path}/deployments"))


def _wait_until_settled(path: str) -> Json | None:
    """Return the endpoint when no change of it, or of a deployment, is under way: one may have been cut off here."""
    begin, pause = time.monotonic(), rest.FIRST_LOOK
    while found := _find(path):
        moving = [each["name"] for each in (found, *_list(path)) if each["properties"]["provisioningState"] in MOVING]
        if not moving:
            return found
        if time.monotonic() - begin > rest.OPERATION_SECONDS:
            raise rest.BusyError(
                f"{', '.join(moving)}: a change has been under way for {rest.OPERATION_SECONDS / 60:.0f} minutes.",
                hint="The studio of Azure ML tells what it waits for. Run the same verb again: it goes on from there.",
            )
        time.sleep(pause)
        pause = min(1.5 * pause, rest.LONGEST_WAIT)
    return None


def _running(environment: str) -> Json:
    found = _find(_path(environment))
    if found is None or not _roles(found):
        raise ProjectError(
            f"No service runs in {environment}.", hint=f"Start it with the verb 'deploy --to {environment}'."
        )
    return found


def _roles(found: Json) -> dict[str, str]:
    """Return the deployments of an endpoint by their role."""
    tagged = found.get("tags") or {}
    return {role: tagged[role] for role in (STABLE, CANARY) if tagged.get(role)}


def _deployment(path: str, found: Json) -> Deployment | None:
    roles = _roles(found)
    if STABLE not in roles:
        return None
    made = {each["name"]: each for each in _list(path)}
    releases = {role: _release(made[name]) for role, name in roles.items() if name in made}
    if STABLE not in releases:
        return None
    return Deployment(releases[STABLE], releases.get(CANARY), float(found["tags"].get(SHARE, 0.0)))


def _release(made: Json) -> Release:
    said = made["properties"].get("environmentVariables") or {}
    try:
        return Release(**{field: said[variable] for field, variable in MODEL_FIELDS.items()})
    except KeyError as error:
        raise ProjectError(
            f"{made['name']} is not as the verb 'deploy' makes it: somebody else has made it.",
            hint="Delete it in the studio of Azure ML, and deploy again.",
        ) from error


def _state(path: str, name: str) -> str | None:
    found = _find(f"{path}/deployments/{name}")
    return found["properties"]["provisioningState"] if found else None


# ------------------------------------------------------------------ what is made


def _endpoint(environment: str) -> Json:
    return {
        "location": account().region,
        "tags": tags(),
        "identity": {
            "type": "UserAssigned",
            "userAssignedIdentities": {check_made().identity(SERVING, environment): {}},
        },
        "properties": {
            "authMode": "AADToken",
            "publicNetworkAccess": "Disabled" if account().private_network else "Enabled",
        },
    }


def _keep_logs(path: str) -> None:
    """Let an endpoint's logs go where alarms look for them; that of the workspace does not reach its endpoints."""
    setting = f"{path}/providers/Microsoft.Insights/diagnosticSettings/logs"
    logs = [{"categoryGroup": "allLogs", "enabled": True}]
    with explain_errors("Keeping the endpoint's logs"):
        if rest.find(setting) is None:
            rest.ask("PUT", setting, {"properties": {"workspaceId": check_made().logs, "logs": logs}})


def _content(environment: str, release: Release, size: Service, count: int) -> Json:
    """Return a deployment's content, whose assets are there then."""
    variables = {variable: getattr(release, field) for field, variable in MODEL_FIELDS.items()}
    known = check_made()
    model, image = assets.model(environment, release), assets.image(environment, SERVE)
    probe = {"initialDelay": "PT5S", "period": "PT5S", "timeout": "PT3S"}
    return {
        "location": account().region,
        "tags": tags(),
        "sku": {"name": "Default", "capacity": count},
        "properties": {
            "endpointComputeType": "Managed",
            "environmentId": image,
            "model": model,
            "instanceType": size.machine,
            "environmentVariables": variables
            | {
                config.VARIABLE: PROJECT,
                "AZURE_CLIENT_ID": find_client_id(SERVING, environment),
                "SERVE_CAPTURES": f"{known.home}/captures/{environment}",
                "SERVE_COUNTERS_SECONDS": str(COUNTED_SECONDS),
            },
            "requestSettings": {
                "maxConcurrentRequestsPerInstance": size.concurrent_requests,
                "requestTimeout": "PT30S",
            },
            "livenessProbe": probe | {"failureThreshold": 30},
            "readinessProbe": probe | {"failureThreshold": START_SECONDS // 5},
            "scaleSettings": {"scaleType": "Default"},
            "appInsightsEnabled": False,
        },
    }


def _name(content: Json) -> str:
    """Return a deployment's name: its version, and what only this very content has; at most 32 characters.

    How many machines it has is no part of it: a canary that becomes stable goes on.
    """
    version = content["properties"]["environmentVariables"]["MODEL_VERSION"]
    return f"v{version[:16]}-{assets.name_by_content(content['properties'])[:8]}"


def _counters(environment: str, name: str) -> str:
    """Return where the machines of a deployment tell what they have counted."""
    return f"{check_made().home}/captures/{environment}/counters/{name}"


def _start(path: str, name: str, content: Json, *, goes_on: bool) -> None:
    """Start a deployment, unless it runs, and see that it answers; it gets no requests yet."""
    whole = f"{path}/deployments/{name}"
    if _state(path, name) == SUCCEEDED:
        return
    environment = content["properties"]["environmentVariables"]
    counted = f"{environment['SERVE_CAPTURES']}/counters/{name}"
    body = content | {
        "properties": content["properties"] | {"environmentVariables": environment | {"SERVE_COUNTERS": counted}}
    }
    what = "what ran before goes on" if goes_on else "nothing runs there"
    try:
        with explain_errors(f"Starting {name}"):
            try:
                rest.change("PUT", whole, body)
            except OperationError as error:
                raise _explain_start(whole, name, what, error) from error
        _check_answer(path, name, what)
    except ProjectError as error:
        if not isinstance(error, rest.BusyError):
            _change("DELETE", whole, None, f"Deleting {name}")
        raise


def _resize(path: str, name: str, sku: Json) -> None:
    """Give a deployment the number of machines that its role has."""
    found = _find(f"{path}/deployments/{name}")
    if found and found["sku"]["capacity"] != sku["capacity"]:
        _change("PATCH", f"{path}/deployments/{name}", {"sku": sku}, f"Changing the machines of {name}")


def _explain_start(whole: str, name: str, what: str, error: OperationError) -> ProjectError:
    if error.code in NO_MACHINES:
        return ProjectError(
            f"Azure has no machine for {name} now: {error.message}",
            hint="Run the same verb again later, or name another machine in infra/machines.yaml.",
        )
    if error.code in rest.UNDER_WAY:
        return rest.BusyError(
            f"{name} is being changed by somebody else: {error.message}",
            hint="Wait for the end of that, and run the same verb again.",
        )
    lines = "".join(f"\n  {line}" for line in _read_log(whole))
    return UnfitError(
        f"{name} did not come up, and {what}: {error.code} {error.message}{lines}",
        hint="The studio of Azure ML has the whole log, at the endpoint's deployment.",
    )


def _read_log(whole: str) -> list[str]:
    """Return the last lines of a deployment's log, if there are any and they may be read."""
    with suppress(ProjectError), explain_errors("Reading the log"):
        found = rest.ask("POST", f"{whole}/getLogs", {"containerType": "InferenceServer", "tail": LOG_LINES * 4})
        return [line.rstrip() for line in found["content"].splitlines() if line.strip()][-LOG_LINES:]
    return []


def _check_answer(path: str, name: str, what: str) -> None:
    """See that requests reach a deployment that gets none yet: its answer to an empty one is no failure."""
    found = _find(path)
    if found is None:
        raise UnfitError(f"The endpoint of {name} is gone.", hint="Somebody has deleted it: run the same verb again.")
    with Endpoint(found["properties"]["scoringUri"], name).connect() as client:
        try:
            answer = client.send("POST", "/invocations", b"{}")
        except SilentError as error:
            raise UnfitError(f"{name} does not answer, and {what}: {error}", hint=error.hint) from error
    if answer.status >= OVERLOADED:
        raise UnfitError(
            f"{name} answers {answer.status}, and {what}: {answer.content[:200]!r}",
            hint="The studio of Azure ML has its log.",
        )


# ------------------------------------------------------------------ what is changed


def _percent(wanted: Deployment) -> int:
    """Return the canary's share in whole hundredths, which is all that Azure knows."""
    return max(1, min(99, round(100 * wanted.share))) if wanted.canary else 0


def _move(path: str, weights: Mapping[str, int], roles: Mapping[str, str], share: float) -> None:
    """Give each deployment its share of the requests; Azure takes an endpoint as a whole."""
    found = _find(path)
    if found is None:
        raise ProjectError(f"{path.rpartition('/')[2]} is gone.", hint="Somebody has deleted it: run the verb again.")
    kept = {name: value for name, value in (found.get("tags") or {}).items() if name not in (STABLE, CANARY, SHARE)}
    tagged = kept | dict(roles) | ({SHARE: str(share)} if roles else {})
    properties = {
        name: found["properties"][name]
        for name in ("authMode", "publicNetworkAccess", "description")
        if found["properties"].get(name) is not None
    }
    identity = found["identity"]
    body = {
        "location": found["location"],
        "tags": tagged,
        "identity": {
            "type": identity["type"],
            "userAssignedIdentities": {key: {} for key in identity.get("userAssignedIdentities") or {}},
        },
        "properties": properties | {"traffic": dict(weights)},
    }
    if tagged != found.get("tags") or dict(weights) != (found["properties"].get("traffic") or {}):
        _change("PUT", path, body, "Moving the requests")


def _drain_canary(path: str, found: Json, wanted: Deployment) -> None:
    """Send no more requests to a canary that is to go: that takes seconds, and all else minutes."""
    roles, runs = _roles(found), _deployment(path, found)
    if runs and runs.canary and runs.stable == wanted.stable:
        _move(path, {roles[STABLE]: 100}, {STABLE: roles[STABLE]}, 0.0)


def _clear(path: str, used: set[str]) -> None:
    """Delete the deployments that get no requests any more, and what they have counted."""
    for each in _list(path):
        if each["name"] not in used:
            _change("DELETE", f"{path}/deployments/{each['name']}", None, f"Deleting {each['name']}")
            environment = (each["properties"].get("environmentVariables") or {}).get("SERVE_COUNTERS")
            if environment:
                blobs.remove(environment)


def _change(method: str, path: str, body: Json | None, what: str) -> None:
    with explain_errors(what):
        rest.change(method, path, body)
