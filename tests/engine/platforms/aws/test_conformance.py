"""AWS keeps to the contract of platforms: on an emulator, where services and steps are processes of this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from twoloops import registry
from twoloops.contracts.release import Release
from twoloops.platforms import aws
from twoloops.platforms.aws import account, connection, endpoints
from twoloops.platforms.shared import images

from tests.engine.platforms.conformance import FIRST, LAST, PlatformConformance, Subject
from tests.engine.support.project import RAW, Project, original
from tests.support.aws.account import BUCKET, NAME, EmulatedAccount, emulated_account, role

ROLES = ("plan", "train", *(f"{what}/{name}" for what in ("apply", "deploy") for name in (FIRST, LAST)))


def forget_clients() -> None:
    """Let no client, and nothing that was read, outlive a test: each has an emulator of its own."""
    for cache in (account._client, account._settings, connection._runtime_in, endpoints._deployment):
        cache.cache_clear()


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a link to the project that the emulator's containers are made of."""
    path = tmp_path_factory.mktemp("emulator") / "project"
    path.symlink_to(original("classification"))
    return path


@pytest.fixture(scope="module")
def emulated(link: Path) -> Iterator[EmulatedAccount]:
    """Return an account in which everything is made."""
    package = str(original("classification") / "src")
    with emulated_account(link, sys.executable, link.parent / "log", PYTHONPATH=package) as found:
        # No step of these tests asks the server.
        found.settle(flow_role_arns={name: role(name) for name in ROLES}, tracking_uri="http://127.0.0.1:9")
        yield found


@pytest.fixture
def subject(
    promoted: Project, link: Path, emulated: EmulatedAccount, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Subject]:
    """Return a project whose platform is AWS. Its registry is a file, and taken for a server's."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in emulated.environment.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    for name in set(images.FILES) - {"pyproject.toml", "params.yaml"}:
        (promoted.folder / name).write_text(name, encoding="utf-8")
    emulated.client("s3").upload_file(str(promoted.folder / RAW), BUCKET, "data/rows.parquet")
    promoted.set(score__source=f"s3://{BUCKET}/data/rows.parquet")
    emulated.push(map(images.tag, images.KINDS))
    link.unlink()
    link.symlink_to(promoted.folder)
    monkeypatch.setattr(registry, "is_shared", lambda: True)
    monkeypatch.setattr(endpoints, "FIRST_LOOK", 0.1)

    def spoil(release: Release) -> Release:
        emulated.control(fail_next="The container does not come up.")
        return release

    yield Subject(aws, promoted, spoil, changed_by_another(emulated))
    for name in emulated.environments:
        aws.stop(name)
    forget_clients()


def changed_by_another(emulated: EmulatedAccount) -> Callable[[], AbstractContextManager[None]]:
    """Return what lets somebody else change an endpoint, which takes a while."""

    @contextmanager
    def change() -> Iterator[None]:
        client, name = emulated.client("sagemaker"), f"{NAME}--{FIRST}"
        now = client.describe_endpoint(EndpointName=name)["EndpointConfigName"]
        variants = client.describe_endpoint_config(EndpointConfigName=now)["ProductionVariants"]
        client.create_endpoint_config(
            EndpointConfigName=f"{name}--another",
            ProductionVariants=variants,
            Tags=[{"Key": endpoints.DEPLOYER, "Value": "somebody else"}],
        )
        emulated.control(seconds=2.0)
        client.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}--another")
        yield
        emulated.control(seconds=0.2)
        emulated.until(lambda: emulated.endpoint(name) == "InService")

    return change


class TestAws(PlatformConformance):
    """The suite, on AWS."""
