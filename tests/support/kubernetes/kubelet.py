"""A node whose containers are processes of this machine: it takes pods that nobody has, and tells how they are.

It speaks with the API server as a kubelet does, and with nothing else: a real one cannot tell it from one. An image is
a project's folder and this Python; a volume is a folder, and a path of a container that lies on one is rewritten.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import secrets
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from twoloops.platforms.kubernetes.api import Api, RefusedError

Json = dict[str, Any]
LOOK_SECONDS = 0.1
NETWORK = ipaddress.ip_network("198.18.0.0/15")  # for measurements, RFC 2544: nobody's
TRIES = 5  # to find an address that no other cluster has
RESTART_SECONDS = 0.3  # a real kubelet waits ten, and twice as long each time


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def take_address() -> str:
    """Give this machine an address that it does not have: a real API server asks no pod at one of loopback."""
    for _ in range(TRIES):
        address = str(NETWORK[secrets.randbelow(NETWORK.num_addresses)])
        if change_address("add", address):
            return address
    raise OSError("this machine takes no address for a pod")


def change_address(what: str, address: str) -> bool:
    """Give this machine an address, or take it away; return False where this user may not.

    Args:
        what: add or delete.
        address: of a pod.
    """
    words = [*([] if os.geteuid() == 0 else ["sudo", "-n"]), "ip", "address", what, f"{address}/32", "dev", "lo"]
    try:
        return subprocess.run(words, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


class Pod:
    """A pod on this node."""

    def __init__(self, node: Node, pod: Json, address: str) -> None:
        """Begin in a thread."""
        self.node, self.pod, self.address = node, pod, address
        self.namespace, self.name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        self.path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=node.folder))
        self.ending = threading.Event()
        self.states: dict[str, Json] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.phase, self.ready = "Pending", False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    # ------------------------------------------------------------------ containers

    def _run(self) -> None:
        spec = self.pod["spec"]
        always = spec.get("restartPolicy", "Always") == "Always"
        try:
            self._lay_out()
            for container in spec.get("initContainers", []):
                while not self.ending.is_set():
                    self._start(container, initial=True)
                    code = self._join(container["name"])
                    if code == 0 or not always:
                        break
                    self._wait_again(container["name"])
                if self.ending.is_set():
                    return
                if code:
                    self._tell("Failed")
                    return
            (container,) = spec["containers"]
            while not self.ending.is_set():
                self._start(container, initial=False)
                self._tell("Running")
                code = self._join(container["name"], self._probe if "readinessProbe" in container else None)
                self.ready = False
                if not always:
                    self._tell("Failed" if code else "Succeeded")
                    return
                self._wait_again(container["name"])
        except (AssertionError, RefusedError, OSError) as error:
            # Whoever waits for the pod has to see that it goes no further.
            self.node.errors.append(f"{self.name}: {error!r}")
            self._tell("Failed")

    def _lay_out(self) -> None:
        """Make the volumes, and lay them where the containers look: below this pod's folder."""
        volumes = {}
        for volume in self.pod["spec"].get("volumes", []):
            path = self.folder / "volumes" / volume["name"]
            path.mkdir(parents=True)
            if "configMap" in volume:
                for name, text in self._wait_for_map(volume["configMap"]["name"]).items():
                    (path / name).write_text(text, encoding="utf-8")
            volumes[volume["name"]] = path
        self.mounts: list[str] = []
        spec = self.pod["spec"]
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            for mount in container.get("volumeMounts", []):
                link = self.folder / "root" / mount["mountPath"].strip("/")
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(volumes[mount["name"]])
                    self.mounts.append(mount["mountPath"])

    def _wait_for_map(self, name: str) -> dict[str, str]:
        """Return what a ConfigMap holds; a pod waits until there is one."""
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{name}"
        while not self.ending.is_set():
            if found := self.node.api.find(path):
                data: dict[str, str] = found.get("data", {})
                return data
            self.ending.wait(LOOK_SECONDS)
        return {}

    def _local(self, word: str) -> str:
        is_mounted = any(word == path or word.startswith(f"{path}/") for path in self.mounts)
        return f"{self.folder}/root{word}" if is_mounted else word

    def _words(self, container: Json) -> list[str]:
        """Return a container's command. What the image itself holds is this machine's, whatever is mounted above it."""
        command, arguments = container.get("command"), container.get("args", [])
        pythons = ("python", self.node.python)
        said = [self.node.python if word in pythons else self._local(word) for word in (*(command or ()), *arguments)]
        return said if command else [*self.node.entrypoint, *said]

    def _environment(self, container: Json) -> dict[str, str]:
        found = {"SERVE_HOST": self.address, "PROJECT_STATE": str(self.folder / "state")}
        for source in container.get("envFrom", []):
            secret = self.node.api.find(f"/api/v1/namespaces/{self.namespace}/secrets/{source['secretRef']['name']}")
            assert secret or source["secretRef"].get("optional"), source
            found |= {key: base64.b64decode(each).decode() for key, each in (secret or {}).get("data", {}).items()}
        return found | {each["name"]: self._local(each["value"]) for each in container.get("env", [])}

    def _start(self, container: Json, *, initial: bool) -> None:
        name = container["name"]
        before = self.states.get(name, {})
        state = {"initial": initial, "image": container["image"], "restarts": before.get("restarts", -1) + 1}
        state["state"] = {"waiting": {"reason": "ContainerCreating"}}
        self.states[name] = state
        while self.node.refuses(container["image"]) and not self.ending.is_set():
            message = f'Back-off pulling image "{container["image"]}"'
            state["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
            self._tell("Pending")
            time.sleep(LOOK_SECONDS)
        words = self._words(container)
        log = self.log(name)
        if log.exists():
            log.rename(self.log(name, previous=True))
        with log.open("wb") as output:
            self.processes[name] = subprocess.Popen(
                words,
                cwd=self.node.image,
                env={**os.environ, **self.node.environment, **self._environment(container)},
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        state["state"] = {"running": {"startedAt": now()}}
        self._tell(self.phase)

    def log(self, container: str, *, previous: bool = False) -> Path:
        return self.folder / f"{container}{'.previous' if previous else ''}.log"

    def _join(self, name: str, probe: Callable[[], bool] | None = None) -> int:
        """Wait until a container has ended, and return its exit code."""
        process = self.processes[name]
        while process.poll() is None:
            if self.ending.is_set():
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(self.pod["spec"].get("terminationGracePeriodSeconds", 30))
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                return process.wait()
            if probe and probe() != self.ready:
                self.ready = not self.ready
                self._tell("Running")
            time.sleep(LOOK_SECONDS)
        code = process.returncode
        self.states[name]["state"] = {
            "terminated": {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": now()}
        }
        self._tell(self.phase)
        return code

    def _wait_again(self, name: str) -> None:
        if self.ending.is_set():
            return
        state = self.states[name]
        state["last"] = state["state"]
        message = f"back-off restarting failed container {name}"
        state["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        self._tell(self.phase)
        time.sleep(RESTART_SECONDS)

    def _probe(self) -> bool:
        (container,) = self.pod["spec"]["containers"]
        probe = container["readinessProbe"]["httpGet"]
        connection = HTTPConnection(self.address, probe["port"], timeout=2)
        try:
            connection.request("GET", probe["path"])
            return connection.getresponse().status < 400
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    # ------------------------------------------------------------------ what is told

    def _tell(self, phase: str) -> None:
        self.phase = phase
        if self.ending.is_set():
            return
        conditions = [
            {"type": kind, "status": "True" if good else "False", "lastTransitionTime": now()}
            for kind, good in {"PodScheduled": True, "Ready": self.ready, "ContainersReady": self.ready}.items()
        ]
        status: Json = {"phase": phase, "conditions": conditions, "podIP": self.address, "hostIP": "127.0.0.1"}
        status["podIPs"] = [{"ip": self.address}]
        for kind, initial in (("initContainerStatuses", True), ("containerStatuses", False)):
            status[kind] = [self._state(name, each) for name, each in self.states.items() if each["initial"] is initial]
        try:
            self.node.api.call("PATCH", f"{self.path}/status", {"status": status}, "application/merge-patch+json")
        except RefusedError as refused:
            if refused.status != 404:
                raise

    def _state(self, name: str, each: Json) -> Json:
        done = each["state"].get("terminated", {}).get("exitCode") == 0
        return {
            "name": name,
            "image": each["image"],
            "imageID": each["image"],
            "ready": done if each["initial"] else self.ready,
            "restartCount": each["restarts"],
            "state": each["state"],
            **({"lastState": each["last"]} if "last" in each else {}),
        }

    def end(self) -> None:
        """End it, and let the API server forget it."""
        self.ending.set()

        def finish() -> None:
            self.thread.join()
            with suppress(RefusedError, OSError):
                self.node.api.call("DELETE", self.path, {"gracePeriodSeconds": 0})

        threading.Thread(target=finish, daemon=True).start()


class Node:
    """This machine, as a node."""

    NAME = "this-machine"

    def __init__(self, api: Api, folder: Path, image: Path, port: int, *, loopback: bool) -> None:
        """Keep the API server, as an administrator.

        Args:
            api: the API server.
            folder: for logs and volumes.
            image: the folder that every image holds: a project's.
            port: that tells the pods' logs.
            loopback: whether pods have addresses there.
        """
        self.api, self.folder, self.image, self.port, self.loopback = api, folder, image, port, loopback
        # Clusters run beside each other.
        self.network = f"127.{secrets.randbelow(254) + 1}.{secrets.randbelow(256)}"
        self.python = sys.executable  # of every image
        self.entrypoint = [self.python, "-m", "twoloops"]  # of every image
        self.environment: dict[str, str] = {}  # of every container, as an image has it
        self.no_image: set[str] = set()  # images that cannot be pulled
        self.pods: dict[str, Pod] = {}
        self.errors: list[str] = []
        self._ended = threading.Event()
        self._number = 1

    def refuses(self, image: str) -> bool:
        return image in self.no_image

    def register(self) -> None:
        """Tell the API server of this node."""
        self.api.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.NAME}})
        room = {"cpu": "64", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"}
        status = {
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "lastHeartbeatTime": now(),
                    "lastTransitionTime": now(),
                    "reason": "KubeletReady",
                    "message": "",
                }
            ],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}},
            "capacity": room,
            "allocatable": room,
        }
        path = f"/api/v1/nodes/{self.NAME}/status"
        self.api.call("PATCH", path, {"status": status}, "application/merge-patch+json")

    def follow(self) -> None:
        """Take pods, and end those that are to go, until the node is ended."""
        while not self._ended.wait(LOOK_SECONDS):
            try:
                listed = self.api.list("/api/v1/pods")
            except (RefusedError, OSError, HTTPException):
                continue
            for pod in listed:
                self._see(pod)

    def _see(self, pod: Json) -> None:
        meta = pod["metadata"]
        leaving, mine = "deletionTimestamp" in meta, self.pods.get(meta["uid"])
        if mine is None and not leaving and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            if not pod["spec"].get("nodeName"):
                self._bind(pod)
            else:
                self.pods[meta["uid"]] = Pod(self, pod, self._address())
        elif leaving and mine is None and pod["spec"].get("nodeName") == self.NAME:
            path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
            with suppress(RefusedError):
                self.api.call("DELETE", path, {"gracePeriodSeconds": 0})
        elif leaving and mine is not None and not mine.ending.is_set():
            mine.end()

    def _bind(self, pod: Json) -> None:
        meta = pod["metadata"]
        target = {"apiVersion": "v1", "kind": "Node", "name": self.NAME}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]}, "target": target}
        with suppress(RefusedError):  # it has just been deleted
            self.api.call("POST", f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/binding", binding)

    def _address(self) -> str:
        if self.loopback:
            self._number += 1
            return f"{self.network}.{self._number}"
        return take_address()

    def end(self) -> None:
        """End every container, and take the addresses away."""
        self._ended.set()
        for pod in self.pods.values():
            pod.ending.set()
        for pod in self.pods.values():
            pod.thread.join(60)
            if not self.loopback:
                change_address("delete", pod.address)

    def read_log(self, namespace: str, pod: str, container: str, *, previous: bool, lines: int | None) -> str | None:
        """Return what a container has printed, or None when there is no such log."""
        for each in self.pods.values():
            if (each.namespace, each.name) == (namespace, pod):
                path = each.log(container, previous=previous)
                if path.exists():
                    found = path.read_text(encoding="utf-8", errors="replace").splitlines()
                    return "".join(f"{line}\n" for line in (found[-lines:] if lines else found))
        return None


class Logs(BaseHTTPRequestHandler):
    """What an API server asks a kubelet: GET /containerLogs/NAMESPACE/POD/CONTAINER."""

    node: Node

    def do_GET(self) -> None:
        parts, query = urlsplit(self.path).path.split("/"), parse_qs(urlsplit(self.path).query)
        text = None
        if parts[1] == "containerLogs":
            lines = int(query["tailLines"][0]) if "tailLines" in query else None
            text = self.node.read_log(*parts[2:5], previous=query.get("previous") == ["true"], lines=lines)
        content = (text or "").encode()
        self.send_response(404 if text is None else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the class has it
        pass


@contextmanager
def serving_logs(node: Node, certificate: Path, key: Path) -> Iterator[None]:
    """Tell the pods' logs, as a kubelet does, meanwhile."""
    server = ThreadingHTTPServer(("127.0.0.1", node.port), type("Own", (Logs,), {"node": node}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
