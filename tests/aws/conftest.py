"""Projects on AWS, rendered, with Terraform; an emulator where one is needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.aws.harness import emulator
from tests.support.terraform import Make, demand_providers, project_on


@pytest.fixture(scope="session")
def providers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip the test where Terraform has no provider of AWS; CI skips none."""
    demand_providers("aws", tmp_path_factory.mktemp("providers"))


@pytest.fixture
def project(tmp_path: Path) -> Make:
    """Return a function that lays out a project and returns Terraform in its folder infra/."""
    return project_on("aws", tmp_path)


@pytest.fixture
def aws(providers: None, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the environment in which programs talk to the emulator, which starts and ends with the test."""
    with emulator(tmp_path / "emulator.log") as environment:
        yield environment
