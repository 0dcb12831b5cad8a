"""GitHub, GitLab and Azure DevOps keep to the contract of code hosts, emulated on loopback."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from twoloops.hosts import azure_devops, github, gitlab

from tests.engine.hosts.conformance import HostConformance, Subject
from tests.engine.support.configuration import configure
from tests.flows.hosts import azure_devops_api, github_api, gitlab_api

GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.com")


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project's folder, the working folder: its configuration alone."""
    path = tmp_path / "project"
    configure(path, host=request.cls.NAME)
    monkeypatch.chdir(path)
    return path


class TestGitHub(HostConformance):
    """The suite, on GitHub."""

    NAME = "github"

    @pytest.fixture
    def subject(self, folder: Path, tmp_path: Path) -> Iterator[Subject]:
        """Return GitHub, with a pull request."""
        origin, workflows = tmp_path / "origin.git", folder / ".github/workflows"
        workflows.mkdir(parents=True)
        (workflows / "train.yml").write_text("on:\n  workflow_dispatch:\n", encoding="utf-8")
        for command in (
            ["git", "init", "--quiet", "--bare", str(origin)],
            ["git", "init", "--quiet", "--initial-branch=main"],
            [*GIT, "commit", "--quiet", "--allow-empty", "--message=Begin"],
            ["git", "push", "--quiet", str(origin), "main", "main:newer"],
        ):
            subprocess.run(command, check=True)
        api = github_api.GitHub(origin, workflows, may_propose=True)
        api.logins[github_api.FLOW] = github_api.OWNER_RIGHTS
        event = api.pull_request()
        ours, fork = tmp_path / "event.json", tmp_path / "fork.json"
        ours.write_text(json.dumps(event), encoding="utf-8")
        number = event["number"]
        foreign = json.loads(json.dumps(event))
        foreign["pull_request"]["head"]["repo"]["full_name"] = "stranger/churn"
        fork.write_text(json.dumps(foreign), encoding="utf-8")
        with github_api.serving(api):
            job = {
                "GITHUB_ACTIONS": "true",
                "GITHUB_API_URL": api.address,
                "GITHUB_EVENT_NAME": "pull_request",
                "GITHUB_EVENT_PATH": str(ours),
                "GITHUB_ENV": str(tmp_path / "env"),
                "GITHUB_OUTPUT": str(tmp_path / "output"),
                "GITHUB_REPOSITORY": api.name,
                "GITHUB_RUN_ID": "7",
                "GITHUB_SERVER_URL": "https://github.com",
                "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
                "GITHUB_TOKEN": github_api.FLOW,
                "RUNNER_TEMP": str(tmp_path / "temporary"),
            }
            yield Subject(
                github,
                str(number),
                job,
                {"GITHUB_EVENT_PATH": str(fork)},
                "GITHUB_TOKEN",
                lambda: [each["body"] for each in api.comments.values() if each["of"] == number],
                tmp_path / "temporary",
            )
        assert api.wrong == []


class TestGitLab(HostConformance):
    """The suite, on GitLab."""

    NAME = "gitlab"

    @pytest.fixture
    def subject(self, folder: Path, tmp_path: Path) -> Iterator[Subject]:
        """Return GitLab, with a merge request."""
        api = gitlab_api.GitLab({"flow": {}, "reason": {}})
        api.merge_requests["1"] = {"iid": 1, "state": "opened", "source_branch": "a", "target_branch": "main"}
        with gitlab_api.serving(api):
            job = {
                "GITLAB_CI": "true",
                "GITLAB_REPORT_TOKEN": gitlab_api.TOKEN,  # this is the pipeline of a change
                "CI_API_V4_URL": f"{api.url}/api/v4",
                "CI_DEFAULT_BRANCH": "main",
                "CI_JOB_URL": f"{api.url}/{gitlab_api.PROJECT}/-/jobs/9",
                "CI_MERGE_REQUEST_IID": "1",
                "CI_MERGE_REQUEST_PROJECT_ID": str(gitlab_api.NUMBER),
                "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": str(gitlab_api.NUMBER),
                "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
                "CI_PROJECT_ID": str(gitlab_api.NUMBER),
                "CI_PROJECT_DIR": str(folder),
                "CI_JOB_ID": "7",
                "CI_PROJECT_URL": f"{api.url}/{gitlab_api.PROJECT}",
            }
            yield Subject(
                gitlab,
                "1",
                job,
                {"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "8"},
                "GITLAB_REPORT_TOKEN",
                lambda: [each["body"] for each in api.notes["merge_requests/1"]],
                tmp_path / "project.tmp/7",
            )


class TestAzureDevOps(HostConformance):
    """The suite, on Azure DevOps."""

    NAME = "azure_devops"

    @pytest.fixture
    def subject(self, folder: Path, tmp_path: Path) -> Iterator[Subject]:
        """Return Azure DevOps, with a pull request."""
        (folder / "azure-pipelines").mkdir()
        for flow in ("check", "train", "deploy", "monitor", "update-template"):
            (folder / f"azure-pipelines/{flow}.yml").touch()
        with azure_devops_api.serving() as api:
            job = {
                "TF_BUILD": "True",
                "AGENT_TEMPDIRECTORY": str(tmp_path / "temporary"),
                "BUILD_BUILDID": "7",
                "BUILD_REPOSITORY_NAME": azure_devops_api.REPOSITORY,
                "SYSTEM_ACCESSTOKEN": "flow-token",
                "SYSTEM_COLLECTIONURI": f"{api.url}/",
                "SYSTEM_PULLREQUEST_ISFORK": "False",
                "SYSTEM_PULLREQUEST_PULLREQUESTID": "5",
                "SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/main",
                "SYSTEM_TEAMPROJECT": azure_devops_api.PROJECT,
            }
            yield Subject(
                azure_devops,
                "5",
                job,
                {"SYSTEM_PULLREQUEST_ISFORK": "True"},
                "SYSTEM_ACCESSTOKEN",
                lambda: [
                    comment["content"]
                    for thread in api.threads["5"]
                    for comment in thread["comments"]
                    if not comment.get("isDeleted")
                ],
                tmp_path / "temporary",
            )
        assert api.unknown == []
