"""Alert rules and dashboards: the programs that read them take them, and what they say is true."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from commands.rendering import TEMPLATE
from tests.conftest import Render
from tests.support.answers import HOSTILE
from tests.support.monitoring import INTERVAL, dashboards, metrics_of, queries, rules
from tests.support.tools import need

TESTS_OF_RULES = Path(__file__).parent / "alerts"
MODES = ["online", "batch", "online_and_batch"]
modes = pytest.mark.parametrize("mode", MODES)
ENGINE = TEMPLATE / "template/engine/src/twoloops"
# What Prometheus and the node exporter say by themselves.
FOREIGN = {"up", "node_textfile_scrape_error"}


def checked(*command: str | Path, cwd: Path | None = None) -> str:
    finished = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, f"{command}: {finished.stdout}{finished.stderr}"
    return finished.stdout


@modes
def test_prometheus_takes_rules_and_settings(mode: str, rendered: Render) -> None:
    project = rendered({"serving_mode": mode})
    promtool = need("promtool")
    rule_files = sorted((project / "monitoring/alerts").glob("*.yml"))
    for path in rule_files:
        shutil.copy(TESTS_OF_RULES / path.name, project / path.name)
        checked(promtool, "test", "rules", path.name, cwd=project)
    told = checked(promtool, "check", "config", "monitoring/prometheus/prometheus.yml", cwd=project)
    assert told.count("rules found") == len(rule_files)


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
    tested = "".join(path.read_text(encoding="utf-8") for path in TESTS_OF_RULES.iterdir())
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
        assert name in tested, f"{name} has no test in tests/template/alerts"


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
    code = "".join(path.read_text(encoding="utf-8") for path in (ENGINE / "verbs").glob("*.py"))
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
        for path in ENGINE.rglob("*.py")
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
