"""The login of a job on Azure Pipelines: a server on this machine is Azure, which makes the token, and AWS."""

import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from twoloops.platforms.aws import login
from twoloops.platforms.aws.account import REGION

GIVEN = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>key</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken>
<Expiration>2030-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
REFUSED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized</Message></Error></ErrorResponse>"""


class Asked:
    """What both were asked, and whether they give what is asked for."""

    def __init__(self) -> None:
        self.token, self.role = True, True
        self.connections: list[str] = []
        self.forms: list[dict[str, str]] = []

    def answer(self, address: str, body: str, login: str | None) -> tuple[int, str]:
        """Return the status and the content of an answer."""
        parts = urlsplit(address)
        if parts.path.endswith("/oidctoken"):
            assert login == "Bearer token of the job"
            self.connections += parse_qs(parts.query)["serviceConnectionId"]
            return (200, json.dumps({"oidcToken": "an identity"})) if self.token else (403, '{"message": "no"}')
        assert login is None, "who has no role yet signs nothing"
        self.forms.append({name: values[0] for name, values in parse_qs(body).items()})
        return (200, GIVEN) if self.role else (403, REFUSED)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Asked]:
    known = Asked()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            status, content = known.answer(self.path, body, self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "AGENT_TEMPDIRECTORY": str(tmp_path),
        "AWS_ENDPOINT_URL": address,
        "BUILD_BUILDID": "7",
        "BUILD_REPOSITORY_NAME": "model",
        "CLOUD_CONNECTION": "a-connection",
        "CLOUD_ROLE": "arn:aws:iam::{{ aws_account }}:role/train",
        "CLOUD_SECONDS": "3600",
        "SYSTEM_ACCESSTOKEN": "token of the job",
        "SYSTEM_COLLECTIONURI": f"{address}/org/",
        "SYSTEM_OIDCREQUESTURI": f"{address}/org/project/_apis/distributedtask/hubs/build/plans/1/jobs/2/oidctoken",
        "SYSTEM_TEAMPROJECT": "project",
        "TF_BUILD": "True",
    }.items():
        monkeypatch.setenv(name, value)
    yield known
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_steps_that_follow_have_the_role(asked: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    login.main()
    assert asked.connections == ["a-connection"]
    (form,) = asked.forms
    assert (form["RoleArn"], form["WebIdentityToken"]) == ("arn:aws:iam::{{ aws_account }}:role/train", "an identity")
    assert (form["DurationSeconds"], form["RoleSessionName"]) == ("3600", "azure-7")
    file = tmp_path / login.FILE
    assert capsys.readouterr().out.splitlines() == [
        f"##vso[task.setvariable variable=AWS_SHARED_CREDENTIALS_FILE]{file}",
        f"##vso[task.setvariable variable=AWS_REGION]{REGION}",
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text(encoding="utf-8").splitlines() == [
        "[default]",
        "aws_access_key_id = key",
        "aws_secret_access_key = secret",
        "aws_session_token = session",
    ]


def test_a_refusal_is_told_in_words(asked: Asked, tmp_path: Path) -> None:
    asked.role = False
    with pytest.raises(SystemExit, match="the login may not do that: Not authorized\nWhat to do: "):
        login.main()
    asked.token = False
    with pytest.raises(SystemExit, match="Azure DevOps answers 403"):
        login.main()
    assert len(asked.forms) == 1
    assert not (tmp_path / login.FILE).exists()
