"""Alert rules and dashboards: what they say is true, and with real programs an alert fires and a query has data."""

from __future__ import annotations

import ast
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

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from commands.rendering import clean_environment

from .conftest import CopyOf, Installed, Render, need
from .support.answers import HOSTILE
from .test_execution import free_port, twins, wait_for

MODES = ["online", "batch", "online_and_batch"]
modes = pytest.mark.parametrize("mode", MODES)
# What Prometheus and the node exporter say by themselves.
FOREIGN = {"up", "node_textfile_scrape_error"}
INTERVAL = re.compile(r"\[(\d+[smhd]|\$__rate_interval)\]")
ROWS = """
import pandas as pd
from loop.problem import data
rows = pd.read_parquet("data/raw/simulated.parquet").head(800).drop(columns=[data.TARGET])
print(rows.to_json(orient="records", date_format="iso"))
"""


def checked(*command: str | Path, cwd: Path | None = None) -> str:
    finished = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, f"{command}: {finished.stdout}{finished.stderr}"
    return finished.stdout


def rules(project: Path) -> list[dict[str, Any]]:
    """Return every alert of a rendered project."""
    files = sorted((project / "monitoring/alerts").glob("*.yml"))
    contents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    return [rule for content in contents for group in content["groups"] for rule in group["rules"]]


def dashboards(project: Path) -> dict[str, dict[str, Any]]:
    """Return every dashboard of a rendered project."""
    paths = sorted((project / "monitoring/dashboards").glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def queries(project: Path) -> dict[str, str]:
    """Return every query of every dashboard, by where it stands."""
    return {
        f"{name}: {panel['title']} {target['refId']}": target["expr"]
        for name, dashboard in dashboards(project).items()
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }


def metrics_of(query: str) -> set[str]:
    """Return the metrics that a query reads."""
    found: set[str] = set()
    waiting: list[Any] = [promql_parser.parse(query)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, promql_parser.VectorSelector):
            found.add(str(node.name))
        for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
            inner = getattr(node, name, None)
            waiting += [inner] if inner is not None and not isinstance(inner, str) else []
        waiting += list(getattr(node, "args", []))
    return found


@modes
def test_prometheus_takes_rules_and_settings(mode: str, rendered: Render) -> None:
    project = rendered({"serving_mode": mode})
    promtool = need("promtool")
    tests = sorted((project / "monitoring/alerts/tests").glob("*.yml"))
    assert [path.name for path in tests] == [
        path.name for path in sorted((project / "monitoring/alerts").glob("*.yml"))
    ]
    for path in tests:
        checked(promtool, "test", "rules", path.name, cwd=path.parent)
    told = checked(promtool, "check", "config", "monitoring/prometheus/prometheus.yml", cwd=project)
    assert told.count("rules found") == len(tests)


@modes
def test_alertmanager_takes_its_settings_with_each_receiver(mode: str, rendered: Render) -> None:
    project = rendered({"contact": HOSTILE["contact"], "serving_mode": mode})
    path = project / "monitoring/alertmanager/alertmanager.yml"
    checked(need("amtool"), "check-config", path)
    # As a reader does who follows the file's own words.
    lines = path.read_text(encoding="utf-8").splitlines()
    begin = lines.index("receivers:")
    receivers = [re.sub(r"^( +)# (email_configs|webhook_configs|  )", r"\1\2", line) for line in lines[begin:]]
    path.write_text("\n".join([*lines[:begin], *receivers]) + "\n", encoding="utf-8")
    (receiver,) = yaml.safe_load(path.read_text(encoding="utf-8"))["receivers"]
    assert receiver["email_configs"][0]["to"] == HOSTILE["contact"]
    assert receiver["webhook_configs"]
    checked(need("amtool"), "check-config", path)


@modes
def test_each_alert_says_what_to_do(mode: str, rendered: Render) -> None:
    project = rendered({"serving_mode": mode})
    page = (project / "docs/runbooks.md").read_text(encoding="utf-8")
    tested = "".join(path.read_text(encoding="utf-8") for path in (project / "monitoring/alerts/tests").iterdir())
    names = [rule["alert"] for rule in rules(project)]
    assert sorted(re.findall(r"^### (\w+)$", page, re.MULTILINE)) == sorted(names)
    for rule in rules(project):
        name, notes = rule["alert"], rule["annotations"]
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        assert notes["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
        assert notes["summary"].endswith("."), name
        assert notes["description"].endswith("."), name
        section = page.split(f"### {name}\n")[1]
        assert section.strip().lower().startswith(rule["labels"]["severity"]), name
        assert name in tested, f"{name} has no test in monitoring/alerts/tests"


def test_the_limits_of_rules_are_those_of_params_yaml(rendered: Render) -> None:
    project = rendered({"serving_mode": "online_and_batch"})
    params = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    limits = {rule["alert"]: rule["expr"].rpartition("> ")[2] for rule in rules(project)}
    assert float(limits["ServiceSlow"]) * 1000 == params["deploy"]["maximum_p99_ms"]
    assert float(limits["RowsRefused"]) == params["monitor"]["maximum_refused_share"]
    assert limits["ChampionTooOld"] == f"{params['monitor']['maximum_age_days']} * 86400"


@modes
def test_runbooks_name_verbs_and_parameters_that_exist(mode: str, rendered: Render) -> None:
    project = rendered({"serving_mode": mode})
    page = (project / "docs/runbooks.md").read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in (project / "src/churn/verbs").glob("*.py"))
    for verb in set(re.findall(r"uv run churn (\w+)", page)):
        assert f"\ndef {verb}(" in code, verb
    params = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    for section, key in set(re.findall(r"`(\w+)\.(\w+)`", page)) - {("deployment", "json"), ("compose", "yaml")}:
        if section in params:
            assert key in params[section], f"{section}.{key}"


@modes
def test_every_metric_is_one_that_the_code_exports(mode: str, rendered: Render) -> None:
    project = rendered({"serving_mode": mode})
    words = {
        node.value
        for path in (project / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    asked = set(queries(project).values()) | {rule["expr"] for rule in rules(project)}
    used = set().union(*(metrics_of(INTERVAL.sub("[1m]", query)) for query in asked))
    assert len(used) > 10
    for metric in used - FOREIGN:
        assert {metric, re.sub(r"_(total|bucket|sum|count)$", "", metric)} & words, metric


def lost(mine: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Yield what is not the same after Grafana's types have read and written it."""
    if isinstance(mine, dict):
        for key, value in mine.items():
            yield from lost(value, theirs[key], f"{path}.{key}") if key in theirs else [f"{path}.{key}"]
    elif isinstance(mine, list):
        assert len(mine) == len(theirs), path
        for number, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            yield from lost(one, other, f"{path}[{number}]")
    elif mine != theirs:
        yield f"{path}: {mine!r}"


def test_grafana_knows_every_key_of_the_dashboards(rendered: Render) -> None:
    project = rendered({"serving_mode": "online_and_batch"})
    register_default_plugins()
    sources = yaml.safe_load((project / "monitoring/grafana/datasources/stack.yml").read_text(encoding="utf-8"))
    known = {source["uid"]: source["type"] for source in sources["datasources"]}
    found = dashboards(project)
    assert set(found) == {"batch", "model", "service"}
    for name, content in found.items():
        again = json.loads(JSONEncoder().encode(Dashboard.from_json(content)))
        assert not list(lost(content, again)), name
        panels = content["panels"]
        assert content["uid"] == name
        assert len({panel["id"] for panel in panels}) == len(panels)
        for panel in panels:
            for part in (panel, *panel["targets"]):
                assert known[part["datasource"]["uid"]] == part["datasource"]["type"], panel["title"]
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, panel["title"]


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

    def __init__(self, project: Installed, folder: Path, hook: Hook) -> None:
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
        assert isinstance(self.project, CopyOf)
        environment = self.project._environment
        python = f"{environment['UV_PROJECT_ENVIRONMENT']}/bin/python"
        command = [python, "-m", f"{self.project.package}.cli", "serve", "deployments/production"]
        log = self.folder / "service.log"
        port = f"--port={self.service}"
        with running(log, *command, port, cwd=self.project.folder, env=environment) as process:
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


def deployment_of(project: Installed) -> None:
    """Make the deployment folder that `deploy` makes, without its trials."""
    registered = json.loads((project.folder / "reports/registration.json").read_text(encoding="utf-8"))
    models = project.folder / "deployments/models"
    models.mkdir(parents=True)
    (models / registered["identity"]).symlink_to(project.folder / "artifacts/model")
    stable = {"version": "1", "identity": registered["identity"], "registered_at": "2026-01-31T12:00:00+00:00"}
    (models.parent / "production").mkdir()
    content = json.dumps({"stable": stable, "canary": None})
    (models.parent / "production/deployment.json").write_text(content, encoding="utf-8")


@pytest.mark.slow
@twins
def test_alerts_reach_a_person_and_every_panel_has_data(trained: Installed, hook: Hook, tmp_path: Path) -> None:
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
