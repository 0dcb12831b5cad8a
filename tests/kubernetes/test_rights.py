"""A flow's job on a real API server, from its code host's token on: what a deployment does, it may; nothing besides.

Who has which right is what Terraform works out of bootstrap/, from a rendered project.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from twoloops.contracts.platform import Login
from twoloops.contracts.release import Deployment
from twoloops.errors import ProjectError
from twoloops.platforms import kubernetes
from twoloops.platforms.kubernetes import cluster as known
from twoloops.platforms.kubernetes.api import Api, RefusedError
from twoloops.platforms.kubernetes.login import AUTHORITY

from tests.engine.platforms.conformance import FIRST, LAST, Subject
from tests.support.kubernetes import subject as own
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.roles import REPOSITORY, Roles

# A cluster, and services with models. What the stand-in beside the engine shows, shown on the real thing.
pytestmark = [pytest.mark.slow, pytest.mark.twin]
JOB = f"{REPOSITORY}:environment:{LAST}"


@pytest.fixture
def job(running: Cluster, roles: Roles, tmp_path: Path) -> Login:
    """Return what a job for production asks for."""
    folder = tmp_path / "job"
    folder.mkdir()
    authority = (running.folder / "tls.crt").read_text(encoding="utf-8").replace("\n", "\\n")
    token = running.issuer.token(JOB, running.url)
    return Login(f"deploy-{LAST}", token, {**roles.variables(), AUTHORITY: authority}, "run", 900, folder)


def test_a_job_for_production_deploys_there_and_nowhere_else(
    subject: Subject, job: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for name, value in kubernetes.log_in(job).items():
            patch.setenv(name, value)
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
            ("GET", "/api/v1/namespaces/churn-state/secrets"),
            ("POST", f"/apis/batch/v1/namespaces/{own.NAME}/jobs"),
            ("POST", "/api/v1/namespaces/churn-flows/pods"),
            ("GET", "/api/v1/nodes"),
        ):
            with pytest.raises(RefusedError, match="403 Forbidden"):
                known.api().call(method, path, {} if method == "POST" else None)
    known.forget()


@pytest.mark.parametrize(
    ("subject_of", "audience", "lives", "role", "said"),
    [
        (JOB, None, 300, f"deploy-{FIRST}", "the login may not do that"),
        ("repo:acme@11/other@33:environment:production", None, 300, f"deploy-{LAST}", "the login may not do that"),
        ("repo:acme@11/churn@33:environment:production", None, 300, f"deploy-{LAST}", "the login may not do that"),
        (f"{REPOSITORY}:pull_request", None, 300, "train", "the login may not do that"),
        (JOB, "https://another-cluster", 300, f"deploy-{LAST}", "does not know the token of this job"),
        (JOB, None, -60, f"deploy-{LAST}", "does not know the token of this job"),
    ],
    ids=["another environment", "another repository", "its name taken over", "no main", "another cluster", "expired"],
)
def test_whoever_else_asks_is_refused(
    subject: Subject,
    running: Cluster,
    job: Login,
    subject_of: str,
    audience: str | None,
    lives: int,
    role: str,
    said: str,
) -> None:
    token = running.issuer.token(subject_of, audience or running.url, lives=lives)
    with pytest.raises(ProjectError, match=said):
        kubernetes.log_in(replace(job, role=role, token=token))
    assert list(job.folder.glob("*token*")) == []


def test_a_jobs_own_token_has_no_right_but_the_exchange(running: Cluster, job: Login) -> None:
    asking = Api(running.url, lambda again: {"Authorization": f"Bearer {job.token}"}, running.admin.context)
    for kind in ("pods", "configmaps", "services"):
        with pytest.raises(RefusedError, match="403 Forbidden"):
            asking.call("GET", f"/api/v1/namespaces/{own.SPACES[LAST]}/{kind}")
