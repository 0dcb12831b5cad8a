"""Prometheus, Alertmanager and the node exporter around a project: an alert fires, and each query has data."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands.rendering import clean_environment
from tests.support.monitoring import INTERVAL, queries
from tests.support.projects import CopyOf
from tests.support.servers import free_port, wait_for
from tests.support.tools import need

pytestmark = pytest.mark.slow

ROWS = """
import pandas as pd
from loop.problem import data
rows = pd.read_parquet("data/raw/simulated.parquet").head(800).drop(columns=[data.TARGET])
print(rows.to_json(orient="records", date_format="iso"))
"""


class Hook(ThreadingHTTPServer):
    """Takes what Alertmanager sends, on loopback."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), Receiver)

    def alerts(self, status: str) -> set[str]:
        return {
            alert["labels"]["alertname"] for each in self.got for alert in each["alerts"] if alert["status"] == status
        }


class Receiver(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@contextmanager
def running(log: Path, *command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Iterator[Any]:
    """Run a program in the background, and end it."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            list(map(str, command)), cwd=cwd, env=clean_environment() | (env or {}), stdout=file, stderr=file
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def until(what: str, seconds: float, condition: Any) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)


def ask(address: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data=data, headers={"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return json.load(answer)


class Watched:
    """A project's service with Prometheus, Alertmanager and the node exporter around it, in a hurry.

    The rules are the project's own; only their times are short, so that minutes pass in seconds.
    """

    def __init__(self, project: CopyOf, folder: Path, hook: Hook) -> None:
        self.project, self.folder = project, folder
        self.service, self.reports, self.prometheus, self.alertmanager = (free_port() for _ in range(4))
        folder.mkdir()
        self._write_rules()
        self._write_settings(hook.server_address[1])

    def _write_rules(self) -> None:
        (self.folder / "alerts").mkdir()
        for path in (self.project.folder / "monitoring/alerts").glob("*.yml"):
            text = re.sub(r"for: \d+[mh]", "for: 1s", path.read_text(encoding="utf-8"))
            (self.folder / "alerts" / path.name).write_text(INTERVAL.sub("[10s]", text), encoding="utf-8")

    def _write_settings(self, hook: int) -> None:
        source = self.project.folder / "monitoring"
        text = (source / "prometheus/prometheus.yml").read_text(encoding="utf-8")
        for name, port in (
            ("service:8080", self.service),
            ("reports:9100", self.reports),
            ("alertmanager:9093", self.alertmanager),
        ):
            assert name in text
            text = text.replace(name, f"127.0.0.1:{port}")
        text = text.replace("15s", "1s").replace("../alerts", "alerts")
        (self.folder / "prometheus.yml").write_text(text, encoding="utf-8")
        settings = yaml.safe_load((source / "alertmanager/alertmanager.yml").read_text(encoding="utf-8"))
        for route in (settings["route"], *settings["route"]["routes"]):
            route |= {"group_wait": "1s", "group_interval": "1s"}
        settings["receivers"][0]["webhook_configs"] = [{"url": f"http://127.0.0.1:{hook}/", "send_resolved": True}]
        (self.folder / "alertmanager.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Run the project's service."""
        command = [self.project.python, "-m", "twoloops", "serve", "deployments/production"]
        log = self.folder / "service.log"
        port = f"--port={self.service}"
        with running(log, *command, port, cwd=self.project.folder, env=self.project.variables()) as process:
            wait_for(f"http://127.0.0.1:{self.service}/health/ready", process, log)
            yield f"http://127.0.0.1:{self.service}"

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Run Prometheus, Alertmanager and the node exporter."""
        log, folder = self.folder / "watchers.log", self.folder
        with (
            running(
                log,
                *[need("prometheus-node-exporter"), "--collector.disable-defaults", "--collector.textfile"],
                f"--collector.textfile.directory={self.project.folder / 'reports/monitoring'}",
                f"--web.listen-address=127.0.0.1:{self.reports}",
                cwd=folder,
            ),
            running(
                log,
                *[need("prometheus-alertmanager"), "--config.file=alertmanager.yml", "--storage.path=alertmanager"],
                *[f"--web.listen-address=127.0.0.1:{self.alertmanager}", "--cluster.listen-address="],
                cwd=folder,
            ) as alertmanager,
            running(
                log,
                *[need("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=prometheus"],
                f"--web.listen-address=127.0.0.1:{self.prometheus}",
                cwd=folder,
            ) as prometheus,
        ):
            wait_for(f"http://127.0.0.1:{self.alertmanager}/-/ready", alertmanager, log)
            wait_for(f"http://127.0.0.1:{self.prometheus}/-/ready", prometheus, log)
            yield

    def query(self, text: str) -> list[dict[str, Any]]:
        """Return what Prometheus answers to a dashboard's query."""
        words = urllib.parse.urlencode({"query": INTERVAL.sub("[10s]", text)})
        answer = ask(f"http://127.0.0.1:{self.prometheus}/api/v1/query?{words}")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return [each for each in found if each["value"][1] != "NaN"]


def deployment_of(project: CopyOf) -> None:
    """Make the deployment folder that `deploy` makes, without its trials."""
    registered = json.loads((project.folder / "reports/registration.json").read_text(encoding="utf-8"))
    models = project.folder / "deployments/models"
    models.mkdir(parents=True)
    (models / registered["identity"]).symlink_to(project.folder / "artifacts/shipped")
    stable = {"version": "1", "identity": registered["identity"], "registered_at": "2026-01-31T12:00:00+00:00"}
    (models.parent / "production").mkdir()
    content = json.dumps({"stable": stable, "canary": None})
    (models.parent / "production/deployment.json").write_text(content, encoding="utf-8")


def test_alerts_reach_a_person_and_every_panel_has_data(trained: CopyOf, hook: Hook, tmp_path: Path) -> None:
    deployment_of(trained)
    parameters = trained.folder / "params.yaml"
    text = parameters.read_text(encoding="utf-8")
    parameters.write_text(text.replace("capture_seconds: 30.0", "capture_seconds: 0.5"), encoding="utf-8")
    watched = Watched(trained, tmp_path / "watched", hook)
    rows = json.loads(trained.run("python", "-c", ROWS).stdout)
    with watched.watching():
        # What cannot be reached is told, and no longer when it can be.
        until("ServiceDown", 30, lambda: "ServiceDown" in hook.alerts("firing"))
        with watched.serving() as address:
            until("ServiceDown resolved", 30, lambda: "ServiceDown" in hook.alerts("resolved"))
            # Rows that break the contract: the share of refused rows is far above its limit.
            for _ in range(30):
                with pytest.raises(urllib.error.HTTPError, match="422"):
                    ask(f"{address}/predict", [{"nothing": 1}])
            until("RowsRefused", 30, lambda: "RowsRefused" in hook.alerts("firing"))
            for _ in range(30):
                ask(f"{address}/predict", rows)
            until("RowsRefused resolved", 30, lambda: "RowsRefused" in hook.alerts("resolved"))
            # The verbs that write what the other dashboards show.
            monitor = ["monitor", "--labels", "data/raw/simulated.parquet"]
            trained.verb(*monitor)
            trained.verb("score", "data/raw/simulated.parquet", "data/scored")
            trained.verb("retrain", "--reason", "a test")
            trained.verb(*monitor)
            for _ in range(10):
                ask(f"{address}/predict", rows)
                time.sleep(0.3)
            asked = queries(trained.folder)
            empty = {name: query for name, query in asked.items() if not watched.query(query)}
            assert len(asked) > 30
            assert not empty
    told = next(alert for each in hook.got for alert in each["alerts"] if alert["labels"]["alertname"] == "RowsRefused")
    assert told["labels"]["severity"] == "ticket"
    assert told["labels"]["project"] == trained.package
    assert told["labels"]["environment"] == "production"
    assert "refuses" in told["annotations"]["summary"]
    assert told["annotations"]["runbook_url"] == "docs/runbooks.md#rowsrefused"
