"""Terraform in rendered projects, whatever they run on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from commands.rendering import TEMPLATE, clean_environment

from .projects import lay_out
from .tools import DEMANDED, UV, need

# In an environment of its own: it wants older versions of what the template's commands need.
CHECKOV = (UV, "tool", "run", "--from", "checkov>=3.2,<4", "checkov")
# What bootstrap/ asks for, by code host. Nobody has these numbers.
ASKED = {
    "github": {"owner_id": "1", "repository_id": "2"},
    "gitlab": {},
    "azure_devops": {"organization_id": "01234567-89ab-cdef-0123-456789abcdef"},
}


class Terraform:
    """Terraform in the folder infra/ of a rendered project."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        """Keep the folder, and what to set in the environment."""
        self.folder = folder
        plain = {name: value for name, value in clean_environment().items() if not name.startswith(("AWS_", "TF_VAR_"))}
        config = plain.get("TF_CLI_CONFIG_FILE")
        if config and not Path(config).exists():
            del plain["TF_CLI_CONFIG_FILE"]
        # The provider's schemas are large: collecting garbage less often saves a good part of the time.
        ours = {"CHECKPOINT_DISABLE": "1", "GOGC": "400", "TF_IN_AUTOMATION": "1"}
        self.environment = {**plain, **ours, **(environment or {})}

    def run(
        self, root: str, *words: str, code: int | None = 0, env: Mapping[str, str] | None = None, plain: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run Terraform in a folder below infra/ and demand its exit code (None: any); some commands have no colour."""
        return self.call(["terraform", *words, *([] if plain else ["-no-color"])], self.folder / root, code, env)

    def call(
        self,
        command: list[str],
        folder: Path,
        code: int | None = 0,
        env: Mapping[str, str] | None = None,
        text: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as Terraform is run."""
        finished = subprocess.run(
            command,
            cwd=folder,
            env=self.environment | dict(env or {}),
            capture_output=True,
            text=True,
            check=False,
            input=text,
        )
        assert code is None or finished.returncode == code, f"{command}\n{finished.stdout}\n{finished.stderr}"
        return finished

    def ask(self, root: str, expression: str, env: Mapping[str, str] | None = None) -> str:
        """Return what `terraform console` prints for an expression."""
        words = ["terraform", "console", "-no-color"]
        return self.call(words, self.folder / root, env=env, text=f"{expression}\n").stdout

    def state(self, root: str, env: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Return the resources of a state, those of modules included."""
        shown = json.loads(self.run(root, "show", "-json", env=env).stdout)

        def resources(module: dict[str, Any]) -> Iterator[dict[str, Any]]:
            yield from module.get("resources", [])
            for child in module.get("child_modules", []):
                yield from resources(child)

        return list(resources(shown.get("values", {}).get("root_module", {})))


Make = Callable[..., Terraform]


def layer(infrastructure: str) -> Path:
    """Return the folder infra/ of an infrastructure's layer."""
    return TEMPLATE / "template" / f"{{{{ layer.infra_{infrastructure} }}}}" / "infra"


def project_on(infrastructure: str, around: Path, *, engine: bool = True) -> Make:
    """Return a function that lays out a project and returns Terraform in its folder infra/.

    Args:
        infrastructure: the answer.
        around: the folder in which projects are laid out.
        engine: whether they need it.
    """

    def make(answers: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Terraform:
        folder = around / f"project-{len(list(around.iterdir()))}"
        lay_out(folder, {"infrastructure": infrastructure, **answers}, engine=engine)
        return Terraform(folder / "infra", environment)

    return make


def demand_providers(infrastructure: str, folder: Path) -> None:
    """Skip the test where Terraform finds no provider, neither in a registry nor in a mirror; CI skips none.

    Args:
        infrastructure: whose providers.
        folder: an empty one.
    """
    need("terraform")
    shutil.copy(layer(infrastructure) / "versions.tf", folder)
    said = Terraform(folder).run("", "init", "-backend=false", "-input=false", code=None)
    if said.returncode:
        message = f"Terraform finds no provider for {infrastructure}: no registry, and no mirror in TF_CLI_CONFIG_FILE"
        if DEMANDED:
            pytest.fail(message)
        pytest.skip(message)


def demand_valid(terraform: Terraform, root: str) -> None:
    """Demand that the files below infra/ are valid by the providers' schemas, without a warning."""
    terraform.run(root, "init", "-backend=false", "-input=false")
    said = json.loads(terraform.run(root, "validate", "-json").stdout)
    assert said["valid"], said
    assert said["warning_count"] == 0, said


def demand_workspace(terraform: Terraform) -> None:
    """Demand that a workspace which is no environment is refused."""
    terraform.run("", "init", "-input=false")
    said = terraform.run("", "test", "-filter=tests/environment.tftest.hcl", code=1, env={"TF_WORKSPACE": "elsewhere"})
    assert "The workspace elsewhere is no environment." in said.stdout + said.stderr


def demand_no_findings(folder: Path, least: int) -> None:
    """Demand that checkov finds nothing, and without the exceptions exactly what they excuse, each with a reason.

    Args:
        folder: with Terraform's files; the exceptions are taken out of them.
        least: so many checks have to pass, or more: else checkov has not read the files.
    """
    assert _found(folder, least) == set()
    excused = set()
    for path in folder.rglob("*.tf"):
        text = path.read_text(encoding="utf-8")
        for check, reason in re.findall(r"#checkov:skip=(\w+)(?:: (.+))?", text):
            assert reason, f"{path}: {check} has no reason"
            excused.add((path.relative_to(folder).as_posix(), check))
        path.write_text(re.sub(r".*#checkov:skip=.*\n", "", text), encoding="utf-8")
    assert _found(folder, least) == excused


def _found(folder: Path, least: int) -> set[tuple[str, str]]:
    """Return what checkov finds, as file and rule."""
    command = [*CHECKOV, "--directory", ".", "--framework=terraform", "--skip-download", "--output=json"]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    results = json.loads(finished.stdout)["results"]
    assert len(results["passed_checks"]) > least
    return {(found["file_path"].lstrip("/"), found["check_id"]) for found in results["failed_checks"]}
