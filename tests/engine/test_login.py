"""The verb `login` on every code host: a server on this machine makes the host's tokens, and is AWS, which trusts."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from twoloops import cli
from twoloops.errors import ProjectError
from twoloops.verbs.login import login

GIVEN = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>key</AccessKeyId><SecretAccessKey>very-secret</SecretAccessKey><SessionToken>session</SessionToken>
<Expiration>2030-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
REFUSED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized</Message></Error></ErrorResponse>"""
ROLE = "arn:aws:iam::123456789012:role/churn--staging--deploy"
PROJECT = """[tool.twoloops]
package = "churn"
problem = "classification"
platform = "{platform}"
host = "{host}"
serving = ["online"]
environments = ["staging", "production"]
owner = "ml-team"
"""
ACCOUNT = '\n[tool.twoloops.aws]\naccount = "123456789012"\nregion = "eu-west-1"\n'
HOSTS = ("github", "gitlab", "azure_devops")


class Asked:
    """What code host and AWS were asked, and whether AWS gives what is asked for."""

    def __init__(self) -> None:
        self.gives = True
        self.tokens: list[dict[str, str]] = []
        self.roles: list[dict[str, str]] = []

    def answer(self, address: str, body: str, login: str | None) -> tuple[int, str]:
        """Return the status and the content of an answer."""
        parts = urlsplit(address)
        if parts.path.endswith(("/id-token", "/oidctoken")):
            assert login == "Bearer token of the job"
            self.tokens.append({name: values[0] for name, values in parse_qs(parts.query).items()})
            return 200, json.dumps({"value": "an identity", "oidcToken": "an identity"})
        assert login is None, "who has no role yet signs nothing"
        self.roles.append({name: values[0] for name, values in parse_qs(body).items()})
        return (200, GIVEN) if self.gives else (403, REFUSED)


@pytest.fixture
def asked() -> Iterator[tuple[Asked, str]]:
    known = Asked()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            status, content = known.answer(self.path, body, self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content.encode())

        do_POST = do_GET  # noqa: N815 - the names of the base class

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield known, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Job:
    """A job of a flow on a code host: its environment, and what it hands from step to step."""

    def __init__(self, host: str, folder: Path, address: str) -> None:
        self.host = host
        self.checkout = folder / "churn"
        self.temporary = folder / ("churn.tmp/7" if host == "gitlab" else "temporary")
        for each in (self.checkout, self.temporary):
            each.mkdir(parents=True)
        self.file(PROJECT.format(platform="aws", host=host) + ACCOUNT)
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GITHUB_", "CI"))}
        known = {"CLOUD_ROLE_DEPLOY_STAGING": ROLE, "CLOUD_REGION": "eu-west-1"}
        self.environment = plain | {"AWS_ENDPOINT_URL": address, "NO_PROXY": "127.0.0.1"}
        self.environment |= {
            "github": {
                "GITHUB_ACTIONS": "true", "GITHUB_ENV": str(folder / "env"), "RUNNER_TEMP": str(self.temporary),
                "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "ml-team/churn", "GITHUB_RUN_ID": "7",
                "ACTIONS_ID_TOKEN_REQUEST_URL": f"{address}/id-token", "FLOW_VARIABLES": json.dumps(known),
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "token of the job",
            },
            "gitlab": {
                "GITLAB_CI": "true", "CI_PROJECT_DIR": str(self.checkout), "CLOUD_TOKEN": "an identity",
                "CI_JOB_URL": "https://gitlab.com/ml-team/churn/-/jobs/7", **known,
                "JOB_VARIABLES": f"{self.checkout}.tmp/7/variables", "CI_JOB_ID": "7",
            },
            "azure_devops": {
                "TF_BUILD": "True", "AGENT_TEMPDIRECTORY": str(self.temporary), "CLOUD_CONNECTION": "a-connection",
                "SYSTEM_ACCESSTOKEN": "token of the job", "SYSTEM_COLLECTIONURI": f"{address}/org/",
                "SYSTEM_TEAMPROJECT": "project", "BUILD_REPOSITORY_NAME": "churn", "BUILD_BUILDID": "7", **known,
                "SYSTEM_OIDCREQUESTURI": f"{address}/org/project/_apis/oidctoken",
            },
        }[host]  # fmt: skip
        self._env = folder / "env"

    def file(self, text: str) -> None:
        """Write the project's configuration."""
        (self.checkout / "pyproject.toml").write_text(text, encoding="utf-8")

    def step(self, role: str, *, seconds: int = 3600, optional: bool = False) -> str:
        """Run the verb as a step; what it sets, the next step has, as on the host."""
        said = io.StringIO()
        try:
            with patch.dict(os.environ, self.environment, clear=True), chdir(self.checkout), redirect_stdout(said):
                login(role, seconds, optional)
        finally:
            assert "very-secret" not in said.getvalue()
        if self.host == "github" and self._env.exists():
            text = self._env.read_text(encoding="utf-8")
            self.environment |= {found[0]: found[2] for found in re.findall(r"(\w+)<<(\w+)\n(.*?)\n\2\n", text, re.S)}
        self.environment |= dict(re.findall(r"##vso\[task\.setvariable variable=(\w+)\](.*)", said.getvalue()))
        return said.getvalue()

    def finds(self) -> str:
        """Return what a later verb of the job finds: as any program does, by boto3's own search."""
        with patch.dict(os.environ, self.environment, clear=True), chdir(self.checkout):
            cli.take_variables()
            session = boto3.Session()
            found = session.get_credentials().get_frozen_credentials()
            return f"{found.access_key} {found.token} {os.environ['AWS_REGION']} {session.region_name}"


@pytest.fixture(params=HOSTS)
def job(request: pytest.FixtureRequest, tmp_path: Path, asked: tuple[Asked, str]) -> Job:
    return Job(request.param, tmp_path, asked[1])


def test_the_later_steps_have_the_role(job: Job, asked: tuple[Asked, str]) -> None:
    said = job.step("deploy-staging", seconds=1800)
    assert "logged in to AWS as deploy-staging" in said
    (role,) = asked[0].roles
    assert (role["RoleArn"], role["WebIdentityToken"], role["DurationSeconds"]) == (ROLE, "an identity", "1800")
    assert re.fullmatch(r"[\w-]{2,64}", role["RoleSessionName"])
    assert role["RoleSessionName"].endswith("-7"), "the run is named in AWS's records"
    assert (
        asked[0].tokens
        == {
            "github": [{"audience": "sts.amazonaws.com"}],
            "gitlab": [],  # the job's file has asked for it
            "azure_devops": [{"serviceConnectionId": "a-connection"}],
        }[job.host]
    )
    (file,) = job.temporary.glob("aws-*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(job.checkout.rglob("*credentials*"))
    assert job.finds() == "key session eu-west-1 eu-west-1"
    # A second login of the job takes the place of the first.
    job.step("deploy-staging")
    assert len(asked[0].roles) == 2
    assert job.finds() == "key session eu-west-1 eu-west-1"


def test_a_refusal_is_told_in_words(job: Job, asked: tuple[Asked, str]) -> None:
    asked[0].gives = False
    with pytest.raises(ProjectError, match="the login may not do that: Not authorized"):
        job.step("deploy-staging")
    assert not list(job.temporary.glob("aws-*"))


def test_what_bootstrap_has_not_set_is_told_or_done_without(job: Job, asked: tuple[Asked, str]) -> None:
    with pytest.raises(ProjectError, match="no variable CLOUD_ROLE_PLAN"):
        job.step("plan")
    assert "No login to AWS: the verb 'bootstrap' has not" in job.step("plan", optional=True)
    assert asked[0].roles == []


def test_an_unknown_role_and_a_process_outside_a_flow(job: Job) -> None:
    with pytest.raises(ProjectError, match="no role 'deploy-nowhere'") as caught:
        job.step("deploy-nowhere")
    assert caught.value.hint.startswith("Known: plan, train, deploy-staging, apply-staging")
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD"):
        job.environment.pop(name, None)
    with pytest.raises(ProjectError, match="no job of a flow"):
        job.step("plan")


def test_the_verb_is_there_where_the_platform_has_flows_of_its_own(tmp_path: Path, asked: tuple[Asked, str]) -> None:
    job = Job("github", tmp_path, asked[1])
    with chdir(job.checkout):
        assert "login" in cli.rooms()
    job.file(PROJECT.format(platform="local", host="github"))
    with chdir(job.checkout):
        assert "login" not in cli.rooms()
