"""Projects on Azure, rendered, with Terraform."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands.rendering import TEMPLATE
from tests.conftest import DEMANDED, need
from tests.support.aws.harness import Terraform
from tests.support.projects import lay_out

Make = Callable[..., Terraform]
INFRASTRUCTURE = TEMPLATE / "template" / "{{ layer.infra_azure }}" / "infra"


@pytest.fixture(scope="session")
def providers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip the test where Terraform has no provider of Azure; CI skips none."""
    need("terraform")
    folder = tmp_path_factory.mktemp("providers")
    shutil.copy(INFRASTRUCTURE / "versions.tf", folder)
    if Terraform(folder).run("", "init", "-backend=false", "-input=false", code=None).returncode:
        message = "Terraform finds no provider hashicorp/azurerm: no registry, and no mirror in TF_CLI_CONFIG_FILE"
        if DEMANDED:
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture
def project(tmp_path: Path) -> Make:
    """Return a function that lays out a project and returns Terraform in its folder infra/."""

    def make(answers: dict[str, Any], environment: dict[str, str] | None = None) -> Terraform:
        folder = tmp_path / f"project-{len(list(tmp_path.iterdir()))}"
        lay_out(folder, {"infrastructure": "azure", **answers}, engine=False)
        return Terraform(folder / "infra", environment)

    return make
