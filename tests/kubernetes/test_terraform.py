"""The rendered Terraform against the providers' schemas, and its own tests with mocks; no cluster is needed."""

from __future__ import annotations

import re
from pathlib import Path

import promql_parser
import pytest
import yaml

from tests.support.answers import hostile
from tests.support.kubernetes.roles import rules
from tests.support.projects import lay_out
from tests.support.terraform import Make, demand_providers, demand_valid, demand_workspace, layer, project_on
from tests.support.twins import twins

LAYER = layer("kubernetes")
BOTH = {"serving_mode": "online_and_batch"}
# A host that names a job by the subject, one that names it by the audience, and one with an audience of its own.
HOSTS = ("gitlab", *twins(["github", "azure_devops"]))


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip the test where Terraform finds no provider; CI skips none."""
    demand_providers("kubernetes", tmp_path_factory.mktemp("providers"))


@pytest.fixture
def project(providers: None, tmp_path: Path) -> Make:
    """Return a function that lays out a project and returns Terraform in its folder infra/."""
    return project_on("kubernetes", tmp_path)


@pytest.mark.parametrize("root", ["bootstrap", "environment"])
def test_valid(root: str, project: Make) -> None:
    demand_valid(project(BOTH), root)


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_its_own_tests_pass(host: str, project: Make) -> None:
    answers = hostile(host, **BOTH)
    terraform = project(answers)
    terraform.run("", "fmt", "-check", "-recursive", plain=True)
    terraform.run("", "init", "-input=false")
    said = terraform.run("", "test", env={"TF_WORKSPACE": answers["environments"].split(", ")[-1]}).stdout
    assert "Success! 6 passed, 0 failed" in said, said


@pytest.mark.slow
@pytest.mark.twin
def test_its_own_tests_pass_with_batches_alone_and_with_kserve(project: Make) -> None:
    for answers in ({"serving_mode": "batch"}, {"with_kserve": True}):
        terraform = project(answers)
        terraform.run("", "init", "-input=false")
        assert "6 passed, 0 failed" in terraform.run("", "test", env={"TF_WORKSPACE": "production"}).stdout


@pytest.mark.slow
def test_a_workspace_that_is_no_environment_is_refused(project: Make) -> None:
    demand_workspace(project({}))


def test_every_alert_is_one_that_prometheus_reads_and_a_runbook_explains() -> None:
    text = (LAYER / "environment/monitoring.tf").read_text(encoding="utf-8")
    here = 'namespace=\\"churn\\"'
    for name, value in {"requests": f"service_requests_total{{{here}", "here": here}.items():
        text = text.replace(f"${{local.{name}}}", value)
    expressions = [
        re.sub(r"\$\{[^}]*\}", "1", found).replace('\\"', '"') for found in re.findall(r'expr += "(.*)"\n', text)
    ]
    assert len(expressions) == 6
    for each in expressions:
        promql_parser.parse(each)
    runbooks = (LAYER.parent / "docs/runbooks.md.jinja").read_text(encoding="utf-8")
    alerts = re.findall(r'alert += "(\w+)"', text)
    assert len(alerts) == len(expressions)
    for alert, link in zip(alerts, re.findall(r'runbook_url = "docs/runbooks.md#(\w+)"', text), strict=True):
        assert link == alert.lower()
        assert f"### {alert}\n" in runbooks


def test_no_right_is_a_wildcard_and_only_the_state_is_secret() -> None:
    names = re.findall(
        r"^  (\w+_rules|settings_right) += [^!]", (LAYER / "bootstrap/roles.tf").read_text("utf-8"), re.MULTILINE
    )
    assert len(names) == 12
    for name in names:
        for rule in rules(name) if name != "pipeline_rules" else []:
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert "*" not in words, name
            assert ("secrets" in rule["resources"]) <= name.startswith("state_"), name
            assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"]), name


def test_machines_are_what_the_engine_reads(tmp_path: Path) -> None:
    lay_out(tmp_path / "project", {"infrastructure": "kubernetes", **BOTH})
    content = yaml.safe_load((tmp_path / "project/infra/machines.yaml").read_text(encoding="utf-8"))
    assert set(content) == {"training", "scoring", "serving"}
    assert set(content["serving"]) == {"staging", "production"}


def test_every_query_of_the_dashboard_is_one_that_prometheus_reads_of_this_namespace() -> None:
    text = (LAYER / "environment/monitoring.tf").read_text(encoding="utf-8")
    queries = re.findall(r'^ {6}"[^"]+" = "(.*)"$', text.partition("panels = [")[2], re.MULTILINE)
    assert len(queries) == 7
    for each in queries:
        query = each.replace("${local.requests}", "service_requests_total{${local.here}")
        query = query.replace("${local.here}", 'namespace="churn"').replace('\\"', '"')
        promql_parser.parse(query.replace("$__rate_interval", "5m"))
        assert query.count("{") == query.count('{namespace="churn"')
