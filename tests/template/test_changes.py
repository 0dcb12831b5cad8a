"""What the pipeline of a change under review gets on each host: the sample, and tokens that may comment and no more."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from commands.answer_space import template

CHECK = {
    "github": ".github/workflows/check.yml",
    "gitlab": ".gitlab/ci/check.yml",
    "azure_devops": "azure-pipelines/check.yml",
}
WHERE = ("local", "aws", "azure", "kubernetes")


def render(host: str, infrastructure: str) -> dict[str, str]:
    answers = {"ci_provider": host, "infrastructure": infrastructure, "serving_mode": "online_and_batch"}
    files = template().render(template().all_answers(answers))
    return {path: file.content.decode() for path, file in files.items() if not path.startswith("engine/")}


@pytest.mark.parametrize("infrastructure", WHERE)
@pytest.mark.parametrize("host", CHECK)
def test_a_change_fetches_the_sample(host: str, infrastructure: str) -> None:
    files = render(host, infrastructure)
    fetches = re.findall(r"(?:churn|verb:) (fetch.*)", files[CHECK[host]])
    assert fetches == ["fetch --sample"]
    # Who trains gets the data itself.
    train = files[CHECK[host].replace("check", "train")]
    assert {each.strip() for each in re.findall(r"(?:churn|verb:) (fetch.*)", train)} == {"fetch"}


@pytest.mark.parametrize("infrastructure", WHERE)
def test_on_github_a_change_may_comment(infrastructure: str) -> None:
    files = render("github", infrastructure)
    flows = {path: yaml.safe_load(text) for path, text in files.items() if ".github/workflows/" in path}
    of_changes = {path: flow for path, flow in flows.items() if "pull_request" in flow[True]}  # YAML 1.1 reads `on` so
    assert CHECK["github"] in of_changes
    for path, flow in of_changes.items():
        assert flow["permissions"] == {}, path
        for name, job in flow["jobs"].items():
            if "environment" in job:
                continue  # of main alone: bootstrap's
            rights = {right for right, kind in job.get("permissions", {}).items() if kind == "write"}
            assert rights <= {"pull-requests", "id-token"}, (path, name)
            assert "secrets." not in str(job), (path, name)


@pytest.mark.parametrize("infrastructure", WHERE)
def test_on_gitlab_a_change_s_jobs_name_no_token_that_may_write(infrastructure: str) -> None:
    files = render("gitlab", infrastructure)
    for path, text in files.items():
        jobs: dict[str, Any] = {}
        if path.startswith(".gitlab/ci/"):
            for document in yaml.safe_load_all(re.sub(r"!reference", "", text)):
                jobs |= document
        for name, job in jobs.items():
            if "GITLAB_TOKEN" in str(job):
                # Protected, and of an environment: a change's pipeline gets neither.
                assert job["environment"]["name"] == "flows", (path, name)
    assert "GITLAB_TOKEN" not in files[CHECK["gitlab"]]


@pytest.mark.parametrize("infrastructure", WHERE)
def test_on_azure_devops_only_what_comments_and_logs_in_gets_the_token(infrastructure: str) -> None:
    files = render("azure_devops", infrastructure)
    flow = yaml.safe_load(
        re.sub(r"^(\s*- )?\$\{\{.*\}\}:$", r"\1if:", files[CHECK["azure_devops"]], flags=re.MULTILINE)
    )
    given: list[dict[str, Any]] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if str(node.get("template", "")).endswith("verb.yml"):
                given.append(node["parameters"])
            for each in node.values():
                walk(each)
        elif isinstance(node, list):
            for each in node:
                walk(each)

    walk(flow)
    assert {each["verb"] for each in given if each.get("host")} <= {
        "report --publish",
        "infrastructure --plan --publish",
    }
    assert not any(each.get("push") for each in given)
    assert all(each.get("tracking") is False for each in given), "nor the registry's"


@pytest.mark.parametrize("host", CHECK)
def test_nothing_is_resolved_in_a_flow(host: str) -> None:
    files = render(host, "aws")
    flows = {path: text for path, text in files.items() if path.startswith((".github", ".gitlab", "azure-pipelines"))}
    told = "\n".join(flows.values())
    assert "uv sync --locked" in told or "UV_LOCKED" in told
    assert not re.search(r"uv sync(?! --locked)", told)
    assert not re.search(r"uv lock|pip install (?!.*--require-hashes)", told)
    for path, text in flows.items():
        for use in re.findall(r"uses: (\S+)", text):
            assert use.startswith("$/") or re.search(r"@[0-9a-f]{40}$", use), (path, use)
