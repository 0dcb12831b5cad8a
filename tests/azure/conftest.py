"""Projects on Azure, rendered, with Terraform."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.terraform import Make, demand_providers, project_on


@pytest.fixture(scope="session")
def providers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip the test where Terraform has no provider of Azure; CI skips none."""
    demand_providers("azure", tmp_path_factory.mktemp("providers"))


@pytest.fixture
def project(tmp_path: Path) -> Make:
    """Return a function that lays out a project and returns Terraform in its folder infra/."""
    return project_on("azure", tmp_path, engine=False)
