"""What the cluster has to have is looked at before Terraform runs, and what is missing is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from twoloops.errors import ProjectError
from twoloops.platforms.kubernetes import preflight
from twoloops.platforms.kubernetes.terraform import KubernetesInfrastructure, _monitors

from tests.engine.support.configuration import configure
from tests.support.kubernetes import stores
from tests.support.kubernetes import subject as own
from tests.support.kubernetes.server import StandIn

VARIABLES = """environments = {
  "staging" = {
    monitors = false # not here
    labels   = { release = "x" }
  }
  "production" = {
    latency_milliseconds = 500
  }
}
"""


def bring(running: StandIn, group: str) -> None:
    running.store.told["/apis"]["groups"].append({"versions": [{"groupVersion": group}]})


def test_all_that_is_missing_is_named(project: Path, running: StandIn, registry: stores.Registry) -> None:
    preflight.check(monitors=False)
    table = own.table(running.url, registry.repository, serving_platform="kserve")
    configure(project, serving=["online", "batch"], **table)
    with pytest.raises(ProjectError, match=r"(?s)the Prometheus Operator.*KServe, which brings") as refused:
        preflight.check(monitors=True)
    assert "with_kserve=false" in str(refused.value)
    assert "infra/README.md" in refused.value.hint
    bring(running, "monitoring.coreos.com/v1")
    bring(running, "serving.kserve.io/v1beta1")
    preflight.check(monitors=True)
    configure(project, serving=["online", "batch"], **own.table(running.url, registry.repository))


def test_a_cluster_that_is_too_old(project: Path, running: StandIn) -> None:
    running.store.told["/version"] = {"major": "1", "minor": "20"}
    with pytest.raises(ProjectError, match=r"runs Kubernetes 1.20, and has to run 1.27"):
        preflight.check(monitors=False)


def test_a_plan_begins_with_it(project: Path, running: StandIn) -> None:
    (project / "infra/environment").mkdir()
    (project / "infra/environment/environments.auto.tfvars").write_text(VARIABLES, encoding="utf-8")
    assert not _monitors("staging")
    assert _monitors("production")
    with pytest.raises(ProjectError, match="the Prometheus Operator"):
        KubernetesInfrastructure().plan("production")
    with pytest.raises(ProjectError, match="no environment 'nowhere'"):
        KubernetesInfrastructure().plan("nowhere")
