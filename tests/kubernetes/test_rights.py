"""The rights of roles.tf on a real API server: what a deployment does, it may; and nothing besides."""

from __future__ import annotations

import pytest
from twoloops.contracts.release import Deployment
from twoloops.errors import ProjectError
from twoloops.platforms import kubernetes
from twoloops.platforms.kubernetes import cluster as known
from twoloops.platforms.kubernetes.api import RefusedError

from tests.engine.platforms.conformance import FIRST, LAST, Subject
from tests.support.kubernetes import subject as own
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.roles import rules

pytestmark = pytest.mark.slow  # a cluster, and services with models


def test_a_job_for_production_deploys_there_and_nowhere_else(
    subject: Subject, running: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    rights = {own.NAME: rules("settings_right", "lock_rules"), own.SPACES[LAST]: rules("deploy_rules")}
    own.bind(running.admin, own.DEPLOYER, rights)
    with monkeypatch.context() as patch:
        patch.setenv("KUBECONFIG", str(running.kubeconfig("deploy")))
        known.forget()
        stable = Deployment(subject.release())
        with kubernetes.lock("A job"):
            kubernetes.deploy(LAST, stable)
            kubernetes.deploy(LAST, Deployment(subject.release(), subject.release("2"), 0.5))
            assert set(subject.ask(LAST, 20)) == {"1", "2"}
            assert set(kubernetes.traffic(LAST)) == {"1", "2"}
            kubernetes.deploy(LAST, stable)
            found = kubernetes.status(LAST)
            assert found is not None
            assert found.problem is None
            kubernetes.stop(LAST)
            kubernetes.remove(LAST)
        with pytest.raises(ProjectError, match=r"the login may not do that.*churn-staging") as refused:
            kubernetes.deploy(FIRST, stable)
        assert "infra/README.md" in refused.value.hint
        for method, path in (
            ("GET", f"/api/v1/namespaces/{own.SPACES[LAST]}/secrets"),
            ("POST", f"/apis/batch/v1/namespaces/{own.NAME}/jobs"),
            ("GET", "/api/v1/nodes"),
        ):
            with pytest.raises(RefusedError, match="403 Forbidden"):
                known.api().call(method, path, {} if method == "POST" else None)
    known.forget()
