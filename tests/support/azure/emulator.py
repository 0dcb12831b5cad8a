"""An emulator of Azure on loopback: Entra ID, Resource Manager with Azure ML, its endpoints, and a registry of images.

Run as a program, `python -m tests.support.azure.emulator FOLDER TLS_PORT PLAIN_PORT PROXY_PORT STORAGE_PORT`; FOLDER
has the certificates. Storage is azurite's, beside it.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from . import edge
from .machines import MSI, Job, Machine
from .roles import allows
from .state import LEARNING, REGION, SUBSCRIPTION, TENANT, Json, key, mint, now, read, state, who_is

MANAGER = "https://management.azure.com"
LOGIN = "https://login.microsoftonline.com"
WAYS = ["GET", "PUT", "PATCH", "POST", "DELETE"]
VERBS = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
machines: dict[str, Machine] = {}
jobs: dict[str, Job] = {}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")

# ------------------------------------------------------------------ Entra ID


def refuse_login(error: str, number: int, text: str, status: int = 401) -> Response:
    return JSONResponse(
        {"error": error, "error_description": f"AADSTS{number}: {text}", "error_codes": [number]}, status
    )


async def discovery(_: Request) -> Response:
    where = f"{LOGIN}/{TENANT}/v2.0/.well-known/openid-configuration"
    name = LOGIN.removeprefix("https://")
    about = {"preferred_network": name, "preferred_cache": name, "aliases": [name]}
    return JSONResponse({"tenant_discovery_endpoint": where, "api-version": "1.1", "metadata": [about]})


async def openid(request: Request) -> Response:
    base = f"{LOGIN}/{request.path_params['tenant']}"
    return JSONResponse(
        {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "issuer": f"{base}/v2.0",
            "jwks_uri": f"{base}/keys",
        }
    )


async def token(request: Request) -> Response:
    """Exchange a code host's token: issuer, subject and audience are compared to the letter."""
    form = dict(parse_qsl((await request.body()).decode()))
    if request.path_params["tenant"] != TENANT:
        return refuse_login("invalid_request", 90002, f"Tenant '{request.path_params['tenant']}' not found.", 400)
    try:
        claims = read(form["client_assertion"])
    except (ValueError, IndexError, KeyError):
        return refuse_login("invalid_client", 50027, "JWT token is invalid or malformed.")
    mine = [each for each in state.trusted if each["client_id"] == form["client_id"]]
    if not mine:
        return refuse_login("unauthorized_client", 700016, f"Application '{form['client_id']}' was not found.", 400)
    if claims["exp"] < time.time():
        return refuse_login("invalid_client", 700024, "Client assertion is not within its valid time range.")
    for name, number in (("issuer", 700211), ("subject", 700213), ("audience", 700212)):
        said = claims[name[:3]]
        mine = [each for each in mine if each[name] == said]
        if not mine:
            text = f"No matching federated identity record found for presented assertion {name} '{said}'."
            return refuse_login("invalid_client", number, text)
    resource = form["scope"].removesuffix("/.default")
    state.calls.append({"who": form["client_id"], "action": "login", "path": resource, "allowed": True})
    made = mint(form["client_id"], resource)
    return JSONResponse({"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": made})


async def msi(request: Request) -> Response:
    """Give a container its login, as Azure ML does."""
    if request.headers.get("secret") != MSI["MSI_SECRET"]:
        return PlainTextResponse("no", 401)
    resource = request.query_params["resource"].rstrip("/")
    made = mint(request.query_params.get("clientid", "system"), resource)
    until = str(int(time.time()) + 3600)
    return JSONResponse({"access_token": made, "expires_on": until, "resource": resource, "token_type": "Bearer"})


# ------------------------------------------------------------------ Resource Manager


def refuse(status: int, code: str, message: str, **headers: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def action(method: str, path: str) -> str:
    """Return which action of a role definition a request needs."""
    provider, *rest = path.rpartition("/providers/")[2].split("/")
    if not rest:
        return f"Microsoft.Resources/subscriptions/providers/{VERBS[method]}"
    kinds = "/".join(rest[::2])
    return f"{provider}/{kinds}/action" if method == "POST" else f"{provider}/{kinds}/{VERBS[method]}"


def is_allowed(who: str, asked: str, path: str) -> bool:
    """Note what somebody does, and say whether they have the right, at a scope above what is asked for."""
    below = f"{key(path)}/"
    mine = [each for each in state.control.rights if each["who"] == who and below.startswith(f"{key(each['scope'])}/")]
    allowed = not state.control.rights or any(allows(each["actions"], asked) for each in mine)
    state.calls.append({"who": who, "action": asked, "path": path, "allowed": allowed})
    return allowed


def linked(kinds: str, body: Json) -> Iterator[tuple[str, str]]:
    """Yield which rights a change needs at what it names: actions and paths."""
    for identity in (body.get("identity") or {}).get("userAssignedIdentities") or {}:
        yield "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", identity
    if kinds == "diagnosticSettings":
        yield "Microsoft.OperationalInsights/workspaces/sharedKeys/action", body["properties"]["workspaceId"]


def begin(path: str, work: Callable[[], tuple[str, str] | None]) -> dict[str, str]:
    """Begin an operation, and return the headers that name it."""
    number = str(uuid.uuid4())
    state.operations[number] = {"status": "InProgress"}
    state.busy.add(path)

    def run() -> None:
        time.sleep(state.control.seconds)
        try:
            failure = work()
        except Exception as error:
            failure = ("InternalServerError", repr(error))
        found = state.resources.get(path)
        if found:
            found["properties"]["provisioningState"] = "Failed" if failure else "Succeeded"
        state.busy.discard(path)
        about = {"error": {"code": failure[0], "message": failure[1]}} if failure else {}
        state.operations[number] = {"status": "Failed" if failure else "Succeeded", **about}

    threading.Thread(target=run, daemon=True).start()
    where = f"{MANAGER}/subscriptions/{SUBSCRIPTION}/providers/{LEARNING}/locations/{REGION}"
    address = f"{where}/mfeOperationsStatus/{number}?api-version=2025-12-01"
    return {"Azure-AsyncOperation": address, "Location": address, "Retry-After": "0"}


async def manager(request: Request) -> Response:  # noqa: PLR0911 - each is a refusal of its own
    path = request.url.path
    me = who_is(request.headers.get("authorization"))
    if me is None:
        return refuse(401, "AuthenticationFailed", "Authentication failed.")
    if "api-version" not in request.query_params:
        return refuse(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
    if not path.startswith(f"/subscriptions/{SUBSCRIPTION}/"):
        return refuse(404, "SubscriptionNotFound", f"The subscription '{path.split('/')[2]}' could not be found.")
    asked = action(request.method, path)
    needed = [(asked, path)]
    if request.method == "PUT":
        needed += linked(asked.split("/")[-2], await request.json())
    for right, scope in needed:
        if not is_allowed(me["oid"], right, scope):
            code = "AuthorizationFailed" if right == asked else "LinkedAuthorizationFailed"
            who = f"The client '{me['oid']}' does not have authorization"
            return refuse(403, code, f"{who} to perform action '{right}' over scope '{scope}'.")
    for fault in state.control.refuse:
        if fault["action"] == asked and fault["times"] > 0:
            fault["times"] -= 1
            wait = {"Retry-After": "0"} if fault["status"] == 429 else {}
            return refuse(fault["status"], fault["code"], fault["message"], **wait)
    if "/mfeOperationsStatus/" in path:
        return JSONResponse(state.operations[path.rpartition("/")[2]])
    handler = {"GET": get, "POST": post, "DELETE": delete}.get(request.method, put)
    return await handler(request, path, key(path))


async def get(_: Request, path: str, place: str) -> Response:
    if place in state.resources:
        return JSONResponse(state.resources[place])
    if path.rpartition("/")[2] in ("deployments", "jobs", "onlineEndpoints", "schedules", "versions"):
        below = [each for each in state.resources if each.startswith(f"{place}/") and "/" not in each[len(place) + 1 :]]
        return JSONResponse({"value": [state.resources[each] for each in below]})
    return refuse(404, "ResourceNotFound", f"The Resource '{path.rpartition('/providers/')[2]}' was not found.")


def is_busy(place: str) -> bool:
    return any(each == place or each.startswith(f"{place}/") or place.startswith(f"{each}/") for each in state.busy)


async def delete(_: Request, path: str, place: str) -> Response:
    if place not in state.resources:
        return Response(status_code=204)
    if is_busy(place):
        return refuse(409, "Conflict", "There is already an operation in progress.")
    endpoint, name = [*path.split("/deployments/"), ""][:2]
    weights = state.resources.get(key(endpoint), {}).get("properties", {}).get("traffic") or {}
    if name and weights.get(name):
        return refuse(400, "BadRequest", f"Cannot delete the deployment {name} with live traffic.")

    def gone() -> None:
        for each in [each for each in state.resources if each == place or each.startswith(f"{place}/")]:
            state.resources.pop(each)
            if each in machines:
                machines.pop(each).stop()

    state.resources[place]["properties"]["provisioningState"] = "Deleting"
    return Response(status_code=202, headers=begin(place, gone))


async def put(request: Request, path: str, place: str) -> Response:
    body = await request.json()
    kinds = "/".join(path.rpartition("/providers/")[2].split("/")[3::2])
    there = state.resources.get(place)
    if request.method == "PATCH" and there is None:
        return refuse(404, "ResourceNotFound", "It was not found.")
    if kinds.startswith("onlineEndpoints"):
        return put_endpoint(request.method, path, place, body)
    name = path.rpartition("/")[2]
    properties = {"provisioningState": "Succeeded", **(body.get("properties") or {})}
    about = {"createdAt": there["systemData"]["createdAt"] if there else now(), "lastModifiedAt": now()}
    made = {"id": path, "name": name, "type": f"{LEARNING}/workspaces/{kinds}", **body}
    made |= {"properties": properties, "systemData": about}
    if kinds == "models/versions":
        properties.setdefault("flavors", {})  # Microsoft's SDK wants them of each model
    if kinds.endswith("versions") and there and not _same_asset(there["properties"], properties):
        return refuse(400, "UserError", f"{name} exists, and a version never changes.")
    if kinds == "jobs":
        return put_job(place, made, exists=there is not None)
    state.resources[place] = made
    return JSONResponse(made, 200 if there else 201)


def _same_asset(one: Json, other: Json) -> bool:
    changing = ("tags", "description", "provisioningState")
    return {k: v for k, v in one.items() if k not in changing} == {k: v for k, v in other.items() if k not in changing}


def put_job(place: str, made: Json, *, exists: bool) -> Response:
    if exists:
        return refuse(400, "UserError", "A job with this name already exists.")
    for step in made["properties"]["jobs"].values():
        if key(step["componentId"]) not in state.resources or key(step["computeId"]) not in state.resources:
            return refuse(400, "UserError", "A component or a compute does not exist.")
    made["properties"]["status"] = "Running"
    state.resources[place] = made
    jobs[place] = Job(place)
    threading.Thread(target=jobs[place].run, daemon=True).start()
    return JSONResponse(made, 201)


async def post(request: Request, path: str, place: str) -> Response:
    target, _, what = place.rpartition("/")
    if what == "getlogs":
        if target not in state.resources:
            return refuse(404, "ResourceNotFound", "The deployment was not found.")
        kept = machines[target].words() if target in machines else state.resources[target].get("log", "")
        return JSONResponse({"content": kept})
    if what == "checknameavailability":
        name = (await request.json())["name"]
        return JSONResponse({"nameAvailable": name not in state.control.taken, "reason": "AlreadyExists"})
    if what == "cancel":
        jobs[target].cancel()
        return Response(status_code=202)
    return refuse(404, "NotFound", path)


# ------------------------------------------------------------------ endpoints


def put_endpoint(method: str, path: str, place: str, body: Json) -> Response:
    name = path.rpartition("/")[2]
    if not NAME.fullmatch(name) or not 3 <= len(name) <= 32:
        return refuse(400, "BadArgument", f"{name} is not a valid name.")
    if is_busy(place):
        return refuse(409, "Conflict", "The endpoint or deployment is being updated by another operation.")
    if "/deployments/" in path:
        return put_deployment(method, path, place, body)
    there = state.resources.get(place)
    properties = body["properties"]
    weights = properties.get("traffic") or {}
    known = {each.rpartition("/")[2] for each in state.resources if each.startswith(f"{place}/deployments/")}
    unknown = {each.lower() for each in weights} - known
    if unknown:
        return refuse(400, "BadRequest", f"The deployments {sorted(unknown)} in traffic were not found.")
    if sum(weights.values()) not in (0, 100):
        return refuse(400, "BadRequest", "Traffic values must sum to 0 or 100.")
    address = f"https://{name}.{REGION}.inference.ml.azure.com/score"
    state.resources[place] = {
        "id": path,
        "name": name,
        "location": body["location"],
        "tags": body.get("tags") or {},  # a PUT takes an endpoint as a whole
        "identity": body["identity"],
        "kind": "Managed",
        "properties": properties
        | {"scoringUri": address, "provisioningState": "Updating" if there else "Creating", "traffic": weights},
    }
    return JSONResponse(state.resources[place], 200 if there else 201, headers=begin(place, lambda: None))


def put_deployment(method: str, path: str, place: str, body: Json) -> Response:
    endpoint = place.partition("/deployments/")[0]
    if endpoint not in state.resources:
        return refuse(404, "ResourceNotFound", "The endpoint was not found.")
    if method == "PATCH":
        state.resources[place]["sku"] |= body["sku"]
        return JSONResponse(state.resources[place], 200, headers=begin(place, lambda: None))
    for named in (body["properties"].get("environmentId"), body["properties"].get("model")):
        if not named or key(named) not in state.resources:
            return refuse(400, "BadArgument", f"{named} does not exist.")
    spec = {"id": path, "name": path.rpartition("/")[2], **body}
    chosen = {"scaleSettings": {"scaleType": "Default"}, **body["properties"]}
    spec["properties"] = {**chosen, "provisioningState": "Creating"}
    state.resources[place] = spec

    def work() -> tuple[str, str] | None:
        if state.control.fail_next:
            code, message = state.control.fail_next
            state.control.fail_next = []
            return code, message
        new = Machine(spec)
        if not new.is_ready():
            spec["log"] = new.words()
            new.stop()
            return "ResourceNotReady", "User container has crashed or terminated."
        old = machines.pop(place, None)
        machines[place] = new
        if old:
            old.stop()
        return None

    return JSONResponse(spec, 201, headers=begin(place, work))


def find_machine(request: Request) -> tuple[str, Machine] | Response:
    """Return the deployment that gets a request, or why none does."""
    me = who_is(request.headers.get("authorization"))
    if me is None:
        return PlainTextResponse("", 401)
    name = request.headers["host"].partition(".")[0].lower()
    place = next((each for each in state.resources if each.endswith(f"/onlineendpoints/{name}")), "")
    if not is_allowed(me["oid"], f"{LEARNING}/workspaces/onlineEndpoints/score/action", place):
        return PlainTextResponse("", 403)
    weights = state.resources.get(place, {}).get("properties", {}).get("traffic") or {}
    wanted = request.headers.get("azureml-model-deployment")
    if not wanted and any(weights.values()):
        (wanted,) = random.choices(list(weights), list(weights.values()))  # noqa: S311
    machine = machines.get(f"{place}/deployments/{(wanted or '').lower()}")
    if not wanted or machine is None:
        return PlainTextResponse("", 404)
    if machine.working >= machine.limit:
        return Response(status_code=429, headers={"ms-azureml-model-error-reason": "too_many_requests"})
    return wanted, machine


async def score(request: Request) -> Response:
    """Hand a request on to a deployment, as the endpoint's front does."""
    found = find_machine(request)
    if isinstance(found, Response):
        return found
    wanted, machine = found
    body = await request.body()
    own = {"x-request-id": str(uuid.uuid4()), "Content-Type": request.headers.get("content-type", "application/json")}

    def ask() -> tuple[int, bytes, str]:
        with machine.ask("POST", machine.routes["scoringRoute"]["path"], body, own) as answer:
            return answer.status, answer.read(), answer.headers.get("Content-Type", "text/plain")

    machine.working += 1
    try:
        status, content, kind = await asyncio.get_running_loop().run_in_executor(None, ask)
    except OSError as error:
        return PlainTextResponse(str(error), 502)
    finally:
        machine.working -= 1
    more = {"x-request-id": own["x-request-id"], "azureml-model-deployment": wanted}
    if status != 200:
        more |= {"ms-azureml-model-error-statuscode": str(status), "ms-azureml-model-error-reason": "model_error"}
        return Response(content, 424, headers=more, media_type=kind)
    return Response(content, 200, headers=more, media_type=kind)


# ------------------------------------------------------------------ the workspace's MLflow
# What Azure ML's server lacks of MLflow's: https://learn.microsoft.com/azure/machine-learning/how-to-use-mlflow
LACKED = ("registered-models/alias", "logged-models", "/api/3.0/", "model-versions", "registered-models", "server-info")


async def track(request: Request) -> Response:
    """Hand a request on to a real server, for a login that Azure gave, as far as Azure ML's own understands it."""
    me = who_is(request.headers.get("authorization"))
    if me is None:
        return JSONResponse({"error_code": "UNAUTHENTICATED", "message": "no"}, 401)
    before, _, after = f"/subscriptions/{request.path_params['rest']}".partition("/workspaces/")
    named, _, asked = after.partition("/")
    asked = f"/{asked}"
    state.calls.append({"who": "mlflow", "action": f"{request.method} {asked}", "path": asked, "allowed": True})
    kind = "experiments/runs" if "/mlflow/runs/" in asked else "experiments"
    way = "read" if asked.rpartition("/")[2].startswith(("get", "search", "list")) else "write"
    if not is_allowed(me["oid"], f"{LEARNING}/workspaces/{kind}/{way}", f"{before}/workspaces/{named}"):
        return JSONResponse({"error_code": "PERMISSION_DENIED", "message": f"{kind}/{way}"}, 403)
    if any(each in asked for each in LACKED):
        return Response(status_code=404)
    body = await request.body()
    address = f"http://127.0.0.1:{os.environ['EMULATOR_TRACKING_PORT']}{asked}?{request.url.query}"

    def ask() -> tuple[int, bytes]:
        sent = urllib.request.Request(
            address, body or None, {"Content-Type": "application/json"}, method=request.method
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sent, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    status, content = await asyncio.get_running_loop().run_in_executor(None, ask)
    return Response(content, status, media_type="application/json")


# ------------------------------------------------------------------ images, and what tests want


async def exchange(request: Request) -> Response:
    form = dict(parse_qsl((await request.body()).decode()))
    if who_is(form.get("access_token")) is None or form["tenant"] != TENANT:
        return JSONResponse({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}, 401)
    return JSONResponse({"refresh_token": mint("refresh", request.headers["host"])})


async def access(request: Request) -> Response:
    form = dict(parse_qsl((await request.body()).decode()))
    if who_is(form.get("refresh_token")) is None:
        return JSONResponse({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}, 401)
    return JSONResponse({"access_token": mint(form["scope"], request.headers["host"])})


async def tag(request: Request) -> Response:
    me, name, wanted = who_is(request.headers.get("authorization")), *map(request.path_params.get, ("name", "tag"))
    if me is None or f"repository:{name}:pull" not in me["oid"]:
        return JSONResponse({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}, 401)
    digest = state.images.get(f"{request.headers['host']}/{name}", {}).get(str(wanted))
    if digest is None:
        return JSONResponse({"errors": [{"code": "TAG_UNKNOWN", "message": "the specified tag does not exist"}]}, 404)
    return JSONResponse({"tag": {"name": wanted, "digest": digest}})


async def controlled(request: Request) -> Response:
    """Take what a test wants, and tell what was asked."""
    told = await request.json()
    for name, value in told.get("control", {}).items():
        setattr(state.control, name, value)
    for path, resource in told.get("resources", {}).items():
        state.resources[key(path)] = {"id": path, "name": path.rpartition("/")[2], **resource}
    for prefix in told.get("remove", []):
        for each in [each for each in state.resources if each.startswith(key(prefix))]:
            del state.resources[each]
    state.trusted += told.get("trusted", [])
    for repository, tags in told.get("images", {}).items():
        state.images.setdefault(repository, {}).update(tags)
    answer: Json = {"control": asdict(state.control), "resources": list(state.resources.values())}
    answer["calls"] = list(state.calls)
    if told.get("forget"):
        state.calls.clear()
    return JSONResponse(answer)


ROUTES = [
    Route("/-control", controlled, methods=["POST"]),
    Route("/msi/token", msi),
    Route("/common/discovery/instance", discovery),
    Route("/{tenant}/v2.0/.well-known/openid-configuration", openid),
    Route("/{tenant}/oauth2/v2.0/token", token, methods=["POST"]),
    Route("/oauth2/exchange", exchange, methods=["POST"]),
    Route("/oauth2/token", access, methods=["POST"]),
    Route("/acr/v1/{name}/_tags/{tag}", tag),
    Route("/score", score, methods=["POST"]),
    Route("/mlflow/v2.0/subscriptions/{rest:path}", track, methods=WAYS),
    Route("/subscriptions/{rest:path}", manager, methods=WAYS),
]


class Server(uvicorn.Server):
    """One of two in a process, which ends both at once."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


async def main(folder: str, *ports: str) -> None:
    """Serve until told to stop."""
    secure, plain, proxy, storage = map(int, ports)
    os.environ["EMULATOR_PLAIN_PORT"] = str(plain)

    def find_port(host: str) -> int | None:
        if host.endswith((".blob.core.windows.net", ".dfs.core.windows.net")):
            return storage
        ours = (each.lstrip("*") for each in edge.NAMES if each != "localhost")
        return secure if any(host.endswith(each) for each in ours) else None

    await edge.serve_proxy(proxy, find_port)
    app = Starlette(routes=ROUTES)
    common: dict[str, Any] = {"host": "127.0.0.1", "log_level": "warning", "timeout_graceful_shutdown": 1}
    keys: dict[str, Any] = {
        "ssl_keyfile": str(Path(folder) / "server.key"),
        "ssl_certfile": str(Path(folder) / "server.pem"),
    }
    servers = [
        Server(uvicorn.Config(app, port=secure, **keys, **common)),
        Server(uvicorn.Config(app, port=plain, **common)),
    ]

    def end() -> None:
        for each in servers:
            each.should_exit = True

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    try:
        await asyncio.gather(*(each.serve() for each in servers))
    finally:
        for each in machines.values():
            with suppress(OSError):
                each.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
