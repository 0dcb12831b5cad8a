"""What the tests against a real API server share: a cluster, what lies beside it, and a project on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.rendering import render
from tests.engine.conftest import *  # noqa: F403 - projects with a champion
from tests.engine.platforms.conformance import Subject
from tests.engine.support.project import Project, original
from tests.support.kubernetes import stores
from tests.support.kubernetes import subject as own
from tests.support.kubernetes.cluster import Cluster, cluster
from tests.support.kubernetes.roles import EXPRESSION, Roles
from tests.support.terraform import Terraform
from tests.support.tools import need


@pytest.fixture(scope="package")
def bucket() -> Iterator[dict[str, str]]:
    with stores.bucket() as found:
        yield found


@pytest.fixture(scope="package")
def registry() -> Iterator[stores.Registry]:
    with stores.registry() as found:
        yield found


@pytest.fixture(scope="package")
def link(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a link to the project that images hold."""
    path = tmp_path_factory.mktemp("images") / "project"
    path.symlink_to(original("classification"))
    return path


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory, link: Path, bucket: dict[str, str]) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster"), link) as found:
        own.make_ground(found.admin, bucket)
        yield found


@pytest.fixture(scope="package")
def roles(running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Roles:
    """Return the roles of a project's flows on GitHub, which the cluster has."""
    need("terraform")
    folder = tmp_path_factory.mktemp("rendered") / "project"
    answers = {"repository": "acme/churn", "serving_mode": "online_and_batch", "kubernetes_cluster": running.url}
    render(folder, {"infrastructure": "kubernetes", "ci_provider": "github", **answers})
    terraform = Terraform(folder / "infra")
    local = folder / "infra/bootstrap/first_override.tf"  # this state is nobody's
    local.write_text('terraform {\n  backend "local" {}\n}\n', encoding="utf-8")
    terraform.run("bootstrap", "init", "-input=false")
    numbers = {"TF_VAR_owner_id": "11", "TF_VAR_repository_id": "22"}
    found = Roles.read(terraform.ask("bootstrap", EXPRESSION, numbers))
    found.give(running.admin)
    return found


@pytest.fixture
def subject(
    promoted: Project,
    link: Path,
    running: Cluster,
    bucket: dict[str, str],
    registry: stores.Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Subject]:
    with own.subject_on(running, promoted, link, bucket, registry, monkeypatch) as found:
        yield found
