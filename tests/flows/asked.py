"""Which roles of a cloud a project's flows ask for, read from the flows' files; by code host."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from .hosts.azure_devops import expanded, steps_of
from .hosts.github import workflow


def asked_on_github(folder: Path) -> dict[str, set[str]]:
    """Return the roles that the flows take, and the environments of the jobs that take them."""
    found: dict[str, set[str]] = {}
    for path in (folder / ".github/workflows").glob("*.yml"):
        for job in workflow(folder, path.stem)["jobs"].values():
            for step in job.get("steps", []):
                if named := re.search(r" login (\S+)", step.get("run", "")):
                    found.setdefault(named[1], set()).add(job.get("environment", ""))
    return found


def asked_on_gitlab(folder: Path) -> dict[str, set[str]]:
    """Return the roles that the flows take, and for whom the tokens are."""
    jobs = yaml.safe_load((folder / ".gitlab/ci/cloud.yml").read_text(encoding="utf-8"))
    asking = {name: job["id_tokens"]["CLOUD_TOKEN"]["aud"] for name, job in jobs.items() if "id_tokens" in job}
    return {name.removeprefix(".cloud-"): {audience} for name, audience in asking.items()}


def asked_on_azure_devops(folder: Path) -> dict[str, set[str]]:
    """Return the roles that the flows take, and the service connections whose tokens they are for."""
    found: dict[str, set[str]] = {}
    for flow in ("check", "train", "deploy", "monitor", "infrastructure"):
        for stage in expanded(folder, flow, Build_Reason="PullRequest")["stages"]:
            for step in [step for job in stage["jobs"] for step in steps_of(job)]:
                if step.get("task") == "cURLUploader@2":
                    connection = step["inputs"]["serviceEndpoint"]
                    role = re.split(r"-(?=plan$|train$|apply-|deploy-)", connection, maxsplit=1)[1]
                    found.setdefault(role, set()).add(connection)
    return found


ASKED = {"github": asked_on_github, "gitlab": asked_on_gitlab, "azure_devops": asked_on_azure_devops}
