"""A stand-in for Kubeflow Pipelines' REST interface: its own reader reads a pipeline, and each task is a pod."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec
from twoloops.platforms.kubernetes.api import Api

Json = dict[str, Any]
SPACE, SERVICE = "kubeflow", "ml-pipeline:8888"
LOOK_SECONDS = 0.1


class Run(threading.Thread):
    """A run of a pipeline: its tasks, one after the other."""

    def __init__(self, api: Api, body: Json) -> None:
        """Read the pipeline.

        Raises:
            ParseError: it is none.
        """
        super().__init__(daemon=True)
        self.api, self.name, self.id = api, body["display_name"], str(uuid4())
        self.account = body["service_account"]
        self.spec = MessageToDict(ParseDict(body["pipeline_spec"]["pipeline_spec"], PipelineSpec()))
        self.platform = body["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        self.state, self.tasks = "PENDING", list[Json]()
        self.ended = threading.Event()

    def run(self) -> None:
        """Run the tasks in an order that their dependencies allow."""
        self.state = "RUNNING"
        waiting = dict(self.spec["root"]["dag"]["tasks"])
        self.tasks.append({"display_name": "root", "state": "RUNNING"})
        done: set[str] = set()
        while waiting:
            name = next(key for key, task in waiting.items() if set(task.get("dependentTasks", [])) <= done)
            task = waiting.pop(name)
            label = self.spec["components"][task["componentRef"]["name"]]["executorLabel"]
            detail = {"display_name": task["taskInfo"]["name"], "state": "RUNNING"}
            self.tasks.append(detail)
            assert label in self.platform, "what is Kubernetes' is said of every step"
            detail["state"] = self._run_pod(self.spec["deploymentSpec"]["executors"][label]["container"], detail)
            if detail["state"] != "SUCCEEDED":
                self.state = self.tasks[0]["state"] = "CANCELED" if self.ended.is_set() else "FAILED"
                return
            done.add(name)
        self.state = self.tasks[0]["state"] = "SUCCEEDED"

    def _run_pod(self, container: Json, detail: Json) -> str:
        pod = f"{self.name}-{uuid4().hex[:5]}"
        detail["child_tasks"] = [{"pod_name": pod}]
        path = f"/api/v1/namespaces/{SPACE}/pods"
        wanted = {key: container[key] for key in ("image", "command", "args", "env")}
        spec = {
            "restartPolicy": "Never",
            "serviceAccountName": self.account,
            "containers": [{"name": "main", **wanted}],
        }
        metadata = {"name": pod, "namespace": SPACE}
        self.api.create(path, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        while not self.ended.wait(LOOK_SECONDS):
            found = self.api.find(f"{path}/{pod}") or {}
            phase = found.get("status", {}).get("phase")
            if phase in ("Succeeded", "Failed"):
                if phase == "Failed":
                    detail["error"] = {"message": "main exited with an error"}
                return str(phase).upper()
        self.api.delete(f"{path}/{pod}")
        return "CANCELED"

    def describe(self) -> Json:
        details = {"task_details": self.tasks}
        return {"run_id": self.id, "display_name": self.name, "state": self.state, "run_details": details}


class Handler(BaseHTTPRequestHandler):
    """The interface."""

    api: Api
    runs: list[Run]

    def _answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/apis/v2beta1/runs":
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            assert query["sort_by"] == "created_at desc"
            first, size = int(query.get("page_token", 0)), int(query["page_size"])
            newest = self.runs[::-1]
            page: Json = {"runs": [each.describe() for each in newest[first : first + size]]}
            if first + size < len(newest):
                page["next_page_token"] = str(first + size)
            self._answer(200, page)
            return
        found = [each for each in self.runs if parts.path.endswith(f"/runs/{each.id}")]
        self._answer(200 if found else 404, found[0].describe() if found else {"message": "no such run"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith(":terminate"):
            for each in self.runs:
                if f"/{each.id}:" in self.path:
                    each.ended.set()
            self._answer(200, {})
            return
        try:
            run = Run(self.api, body)
        except ParseError as error:
            self._answer(400, {"message": str(error)})
            return
        self.runs.append(run)
        run.start()
        self._answer(200, run.describe())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the class has it
        pass


@contextmanager
def kubeflow(api: Api) -> Iterator[tuple[int, list[Run]]]:
    """Start the interface, give its port on loopback and its runs, and end both.

    Args:
        api: the cluster, as an administrator.
    """
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    runs: list[Run] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"api": api, "runs": runs}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], runs
    finally:
        for each in runs:
            each.ended.set()
            each.join()
        server.shutdown()
        server.server_close()
        time.sleep(LOOK_SECONDS)
