"""Projects on AWS, rendered, with Terraform; an emulator where one is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws.harness import Terraform, demand_providers, emulator
from tests.support.projects import lay_out

Make = Callable[..., Terraform]


@pytest.fixture(scope="session")
def providers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip the test where Terraform has no provider of AWS; CI skips none."""
    demand_providers(tmp_path_factory.mktemp("providers"))


@pytest.fixture
def project(tmp_path: Path) -> Make:
    """Return a function that lays out a project and returns Terraform in its folder infra/."""

    def make(answers: dict[str, Any], environment: dict[str, str] | None = None) -> Terraform:
        folder = tmp_path / f"project-{len(list(tmp_path.iterdir()))}"
        lay_out(folder, {"infrastructure": "aws", **answers})
        return Terraform(folder / "infra", environment)

    return make


@pytest.fixture
def aws(providers: None, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return the environment in which programs talk to the emulator, which starts and ends with the test."""
    with emulator(tmp_path / "emulator.log") as environment:
        yield environment
