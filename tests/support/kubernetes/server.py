"""A stand-in for an API server on loopback, for the tests that run everywhere: what the platform asks, and no more.

It holds objects, checks each against the schemas of today's Kubernetes, and rolls Deployments and Jobs out on the node
of processes. The same suite runs on a real API server (tests/kubernetes), which is what this is measured by. It knows
no quotas, no garbage but that of owners, and takes what is applied as the whole of what its manager wants.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

import kubernetes_validate
from twoloops.platforms.kubernetes.api import Api

from tests.support.servers import free_port

from .kubelet import Node

Json = dict[str, Any]
VERSION = "1.37"  # of the schemas
TURN_SECONDS = 0.05  # between two looks of the controllers
USERS = ("admin", "deploy", "look", "train")  # each with a token of the same name
PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+/[^/]+))(?:/namespaces/(?P<space>[^/]+))?/(?P<kind>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<below>[a-z]+)(?P<rest>/.*)?)?\Z"
)


class RefusedError(Exception):
    """A request is refused."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        """Keep what the answer says."""
        super().__init__(message)
        self.status, self.reason = status, reason


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def merge(target: Json, change: Mapping[str, Any]) -> None:
    """Change an object as a merge patch does: RFC 7386."""
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


class Store:
    """The objects, by kind, namespace and name."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.objects: dict[tuple[str, str, str], Json] = {}
        self.lock = threading.RLock()
        self.rights: set[tuple[str, str, str, str, str]] = set()  # used: who, where, group, resource and verb of each
        own = [
            {"versions": [{"groupVersion": each}]} for each in ("apps/v1", "batch/v1", "autoscaling/v2", "policy/v1")
        ]
        # What is told of the server itself, by path.
        self.told: dict[str, Json] = {"/version": {"major": "1", "minor": "37+"}, "/apis": {"groups": own}}
        self.outside: dict[tuple[str, str], int] = {}  # services that are none of pods: their ports on loopback
        self.version = 0

    def list(self, kind: str, space: str | None = None) -> list[Json]:
        """Return copies of the objects of a kind, in one namespace or in all."""
        with self.lock:
            found = [each for (k, s, _), each in self.objects.items() if k == kind and space in (None, s)]
            return copy.deepcopy(found)

    def get(self, kind: str, space: str, name: str) -> Json:
        found = self.objects.get((kind, space, name))
        if found is None:
            raise RefusedError(404, "NotFound", f'{kind} "{name}" not found')
        return found

    def create(self, kind: str, space: str, body: Json) -> Json:
        name = body["metadata"]["name"]
        if space and kind != "namespaces" and ("namespaces", "", space) not in self.objects:
            raise RefusedError(404, "NotFound", f'namespaces "{space}" not found')
        if (kind, space, name) in self.objects:
            raise RefusedError(409, "AlreadyExists", f'{kind} "{name}" already exists')
        made = copy.deepcopy(body)
        made["metadata"] |= {"uid": str(uuid4()), "creationTimestamp": now(), "generation": 1}
        if space:
            made["metadata"]["namespace"] = space
        if kind == "deployments":
            made["spec"].setdefault("replicas", 1)
        return self._keep(kind, space, name, made)

    def change(self, kind: str, space: str, name: str, changed: Json) -> Json:
        before = self.get(kind, space, name)
        if before.get("immutable") and changed.get("data") != before.get("data"):
            raise RefusedError(422, "Invalid", f'{kind} "{name}" is invalid: data: field is immutable')
        if changed.get("spec") != before.get("spec"):
            changed["metadata"]["generation"] = before["metadata"]["generation"] + 1
        return self._keep(kind, space, name, changed)

    def _keep(self, kind: str, space: str, name: str, body: Json) -> Json:
        if body.get("kind") not in (None, "Namespace", "Node", "Pod", "InferenceService"):
            _validate({key: value for key, value in body.items() if key != "status"})
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.objects[kind, space, name] = body
        return body

    def delete(self, kind: str, space: str, name: str, *, at_once: bool = True) -> Json:
        found = self.get(kind, space, name)
        if kind == "pods" and not at_once and found["spec"].get("nodeName"):
            found["metadata"].setdefault("deletionTimestamp", now())
            return found
        del self.objects[kind, space, name]
        uid = found["metadata"]["uid"]
        for owned, where, called in list(self.objects):
            held = self.objects.get((owned, where, called), {"metadata": {}})  # what it owned itself is gone by now
            owners = held["metadata"].get("ownerReferences", [])
            if any(each["uid"] == uid for each in owners):
                self.delete(owned, where, called, at_once=False)
        return found


def _validate(body: Json) -> None:
    try:
        kubernetes_validate.validate(body, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        raise RefusedError(422, "Invalid", f"{body.get('kind')} is invalid: {error.message}") from error


class Handler(BaseHTTPRequestHandler):
    """The interface."""

    protocol_version = "HTTP/1.1"
    store: Store
    node: Node
    tokens: Mapping[str, str]

    def _handle(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        try:
            self.user = self.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "), "")
            if not self.user:
                raise RefusedError(401, "Unauthorized", "Unauthorized")
            if parts.path in self.store.told:
                self._answer(200, self.store.told[parts.path])
                return
            found = PATH.match(unquote(parts.path))
            if found is None:
                raise RefusedError(404, "NotFound", "the server could not find the requested resource")
            self._dispatch(found.groupdict(default=""), query, content)
        except RefusedError as refused:
            said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": str(refused)}
            self._answer(refused.status, said | {"reason": refused.reason, "code": refused.status})

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def do_PATCH(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def _answer(self, status: int, body: Any, kind: str = "application/json") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the class has it
        pass

    def _dispatch(self, where: dict[str, str], query: dict[str, str], content: bytes) -> None:
        kind, space, name, below = (where[key] for key in ("kind", "space", "name", "below"))
        self._note_right(where, applies="apply-patch" in self.headers.get("Content-Type", ""))
        if below == "proxy":
            self._proxy(where, content, f"?{urlsplit(self.path).query}" if "?" in self.path else "")
        elif below == "log":
            lines = int(query["tailLines"]) if "tailLines" in query else None
            previous = query.get("previous") == "true"
            text = self.node.read_log(space, name, query["container"], previous=previous, lines=lines)
            if text is None:
                raise RefusedError(400, "BadRequest", "no log")
            self._answer(200, text.encode(), "text/plain")
        else:
            with self.store.lock:
                body = json.loads(content) if content else {}
                answered = copy.deepcopy(self._object(kind, space, name, below, query, body))
            self._answer(201 if self.command == "POST" else 200, answered)

    def _note_right(self, where: dict[str, str], *, applies: bool) -> None:
        """Note the right that a request needs: https://kubernetes.io/docs/reference/access-authn-authz/authorization/."""
        space, kind, name, below = (where[key] for key in ("space", "kind", "name", "below"))
        verb = {
            "GET": "get" if name else "list",
            "POST": "create",
            "PUT": "update",
            "PATCH": "patch",
            "DELETE": "delete",
        }
        verbs = {verb[self.command]}
        if applies and (kind, space, name) not in self.store.objects:
            verbs.add("create")
        resource = f"{kind}/{below}" if below else kind
        self.store.rights |= {(self.user, space, where["group"].partition("/")[0], resource, each) for each in verbs}

    def _object(self, kind: str, space: str, name: str, below: str, query: dict[str, str], body: Json) -> Json:
        if self.command == "POST":
            return self._post(kind, space, name, below, body)
        if self.command == "DELETE":
            return self.store.delete(kind, space, name, at_once=body.get("gracePeriodSeconds") == 0)
        if self.command == "GET" and not name:
            wanted = dict(each.split("=") for each in query.get("labelSelector", "").split(",") if each)
            items = self.store.list(kind, space or None)
            chosen = [each for each in items if wanted.items() <= each["metadata"].get("labels", {}).items()]
            return {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": chosen}
        if self.command == "GET":
            return self.store.get(kind, space, name)
        return self._change(kind, space, name, below, query.get("fieldManager", "unknown"), body)

    def _post(self, kind: str, space: str, name: str, below: str, body: Json) -> Json:
        if below == "binding":
            self.store.get(kind, space, name)["spec"]["nodeName"] = body["target"]["name"]
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if below == "token":
            self.store.get(kind, space, name)
            assert body["kind"] == "TokenRequest", body
            seconds = body["spec"]["expirationSeconds"]
            return {"kind": "TokenRequest", "status": {"token": f"{space}/{name} for {seconds} s"}}
        return self.store.create(kind, space, body)

    def _change(self, kind: str, space: str, name: str, below: str, manager: str, body: Json) -> Json:
        applies = "apply-patch" in self.headers.get("Content-Type", "")
        if applies and (kind, space, name) not in self.store.objects:
            return self.store.create(kind, space, body)
        changed = copy.deepcopy(self.store.get(kind, space, name))
        given = body["metadata"].get("resourceVersion") if self.command == "PUT" else None
        if given and given != changed["metadata"]["resourceVersion"]:
            raise RefusedError(409, "Conflict", "the object has been modified; please apply your changes to the latest")
        if below == "status":
            merge(changed.setdefault("status", {}), body["status"])
        elif self.command == "PUT" or applies:
            replicas = changed.get("spec", {}).get("replicas")
            for key in {*body, "spec"} - {"metadata"}:
                changed[key] = copy.deepcopy(body.get(key))
            if replicas is not None and "replicas" not in changed["spec"]:
                changed["spec"]["replicas"] = replicas
            changed["metadata"] |= {
                key: body["metadata"][key] for key in ("labels", "annotations") if key in body["metadata"]
            }
            if changed["spec"] is None:
                del changed["spec"]
        else:
            merge(changed, body)
            if "template" in body.get("spec", {}):
                fields: Json = {"f:spec": {"f:template": {"f:metadata": {}}}}
                entry = {"manager": manager, "operation": "Update", "time": now(), "fieldsV1": fields}
                changed["metadata"].setdefault("managedFields", []).append(entry)
        if self.command == "PUT":
            changed["metadata"].pop("managedFields", None)
        return self.store.change(kind, space, name, changed)

    def _proxy(self, where: dict[str, str], content: bytes, query: str) -> None:
        name, _, port = where["name"].partition(":")
        if outside := self.store.outside.get((where["space"], where["name"])):
            if not self._hand_on("127.0.0.1", outside, where["rest"] + query, content):
                raise RefusedError(503, "ServiceUnavailable", f'error trying to reach service "{name}"')
            return
        pods = self.store.list("pods", where["space"])
        if where["kind"] == "services":
            selector = self.store.get("services", where["space"], name)["spec"]["selector"]
            pods = [each for each in pods if selector.items() <= each["metadata"]["labels"].items() and _is_ready(each)]
            pods = [each for each in pods if "deletionTimestamp" not in each["metadata"]]
            port = "8080"
        else:
            pods = [each for each in pods if each["metadata"]["name"] == name]
        for pod in sorted(pods, key=lambda _: uuid4().hex):
            if self._hand_on(pod.get("status", {}).get("podIP", "127.0.0.1"), int(port), where["rest"] or "/", content):
                return
        raise RefusedError(503, "ServiceUnavailable", f'no endpoints available for service "{name}"')

    def _hand_on(self, host: str, port: int, path: str, content: bytes) -> bool:
        """Hand the request on, and the answer back; return False when nobody answers."""
        headers = {key: value for key, value in self.headers.items() if key not in ("Authorization", "Host")}
        connection = HTTPConnection(host, port, timeout=10)
        try:
            connection.request(self.command, path, content or None, headers)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
        self._answer(answer.status, body, answer.headers.get("Content-Type", ""))
        return True


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)


# ------------------------------------------------------------------ controllers


class Controllers(threading.Thread):
    """Makes pods for Deployments and Jobs, and tells how they are."""

    def __init__(self, store: Store) -> None:
        """Keep the objects."""
        super().__init__(daemon=True)
        self.store, self.ended = store, threading.Event()
        self.errors: list[str] = []

    def run(self) -> None:
        """Turn until it is ended."""
        while not self.ended.wait(TURN_SECONDS):
            turns = {"inferenceservices": self._service, "deployments": self._deployment, "jobs": self._job}
            for kind, turn in turns.items():
                for each in self.store.list(kind):
                    with self.store.lock:
                        try:
                            turn(self.store.get(kind, each["metadata"]["namespace"], each["metadata"]["name"]))
                        except RefusedError as refused:
                            if refused.status != 404:
                                self.errors.append(str(refused))

    def _owned(self, owner: Json) -> list[Json]:
        uid = owner["metadata"]["uid"]
        pods = [each for (kind, _, _), each in self.store.objects.items() if kind == "pods"]
        return [each for each in pods if each["metadata"]["ownerReferences"][0]["uid"] == uid]

    def _make_pod(self, owner: Json, labels: Mapping[str, str]) -> None:
        template, meta = owner["spec"]["template"], owner["metadata"]
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
        metadata = copy.deepcopy(template["metadata"]) | {"name": f"{meta['name']}-{uuid4().hex[:5]}"}
        metadata |= {"labels": {**metadata.get("labels", {}), **labels}, "ownerReferences": [reference]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}
        _validate(pod)
        self.store.create("pods", meta["namespace"], pod)

    def _deployment(self, found: Json) -> None:
        """Bring new pods up beside the old ones, and end those when all new ones are ready."""
        digest = hashlib.sha256(json.dumps(found["spec"]["template"], sort_keys=True).encode()).hexdigest()[:8]
        running = [each for each in self._owned(found) if "deletionTimestamp" not in each["metadata"]]
        new = [each for each in running if each["metadata"]["labels"]["pod-template-hash"] == digest]
        old = [each for each in running if each not in new]
        wanted = found["spec"]["replicas"]
        for _ in range(wanted - len(new)):
            self._make_pod(found, {"pod-template-hash": digest})
        ready = [each for each in new if _is_ready(each)]
        surplus = new[wanted:] + (old if len(ready) >= wanted else [])
        for pod in surplus:
            self.store.delete("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], at_once=False)
        found["status"] = {
            "observedGeneration": found["metadata"]["generation"],
            "replicas": len(new) + len(old),
            "updatedReplicas": len(new),
            "availableReplicas": len(ready) + sum(map(_is_ready, old)),
        }

    def _service(self, found: Json) -> None:
        """Make what KServe makes of an InferenceService in Standard mode, as far as anybody here looks at it.

        https://github.com/kserve/kserve/tree/master/pkg/controller/v1beta1/inferenceservice/reconcilers tells it.
        """
        meta, predictor = found["metadata"], copy.deepcopy(found["spec"]["predictor"])
        space, name = meta["namespace"], f"{meta['name']}-predictor"
        made = self.store.objects.get(("deployments", space, name))
        if meta["annotations"].get("serving.kserve.io/stop") == "true":
            if made:
                self.store.delete("deployments", space, name)
                self.store.delete("services", space, name)
            return
        common = {
            "labels": {**predictor.pop("labels"), "app": f"isvc.{name}"},
            "annotations": predictor.pop("annotations"),
        }
        strategy, least = predictor.pop("deploymentStrategy"), predictor.pop("minReplicas")
        for key in ("maxReplicas", "scaleMetric", "scaleTarget"):
            predictor.pop(key)
        template = {"metadata": common, "spec": predictor}
        if made:
            changed = copy.deepcopy(made)
            changed["spec"]["template"] = template
            if changed != made:
                self.store.change("deployments", space, name, changed)
            return
        owner = {"apiVersion": found["apiVersion"], "kind": found["kind"], "name": meta["name"], "uid": meta["uid"]}
        metadata = {"name": name, "namespace": space, "ownerReferences": [{**owner, "controller": True}]}
        selector = {"app": f"isvc.{name}"}
        spec = {"replicas": least, "selector": {"matchLabels": selector}, "strategy": strategy, "template": template}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
        self.store.create("deployments", space, body)
        (port,) = predictor["containers"][0]["ports"]
        ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": port["containerPort"]}]
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": selector, "ports": ports},
        }
        self.store.create("services", space, body)

    def _job(self, found: Json) -> None:
        if found.get("status", {}).get("conditions") or found["spec"].get("suspend"):
            return
        pods = self._owned(found)
        if not pods:
            self._make_pod(found, {"job-name": found["metadata"]["name"]})
            return
        phase = pods[-1].get("status", {}).get("phase")
        if phase in ("Succeeded", "Failed"):
            condition = {"type": "Complete"} if phase == "Succeeded" else {"type": "Failed"}
            reason = {"reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}
            condition |= {"status": "True", **(reason if phase == "Failed" else {})}
            found["status"] = {"conditions": [condition]}


class StandIn:
    """A cluster that runs."""

    def __init__(self, url: str, folder: Path, store: Store, node: Node) -> None:
        """Keep its parts."""
        self.url, self.folder, self.store, self.node = url, folder, store, node
        self.admin = node.api

    def kubeconfig(self, user: str) -> Path:
        """Return a kubeconfig with one of the tokens."""
        path = self.folder / f"kubeconfig-{user}"
        content = {
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": user, "user": {"token": user}}],
            "contexts": [{"name": user, "context": {"cluster": "here", "user": user}}],
            "current-context": user,
        }
        path.write_text(json.dumps(content), encoding="utf-8")
        return path


@contextmanager
def stand_in(folder: Path, image: Path) -> Iterator[StandIn]:
    """Start a stand-in for a cluster, and end it.

    Args:
        folder: for its files.
        image: the folder that every image holds: a project's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{free_port()}"
    store, admin = Store(), Api(url, lambda again: {"Authorization": "Bearer admin"})
    node = Node(admin, folder, image, 0, loopback=True)
    own = type("Own", (Handler,), {"store": store, "node": node, "tokens": {each: each for each in USERS}})
    server = ThreadingHTTPServer(("127.0.0.1", int(url.rpartition(":")[2])), own)
    controllers = Controllers(store)
    for thread in (threading.Thread(target=server.serve_forever, daemon=True), controllers):
        thread.start()
    node.register()
    threading.Thread(target=node.follow, daemon=True).start()
    try:
        yield StandIn(url, folder, store, node)
    finally:
        node.end()
        controllers.ended.set()
        controllers.join()
        time.sleep(TURN_SECONDS)
        server.shutdown()
        server.server_close()
    assert controllers.errors == []
