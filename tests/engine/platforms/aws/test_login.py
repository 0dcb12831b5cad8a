"""A login by a token: a server on this machine is AWS, which gives a role for it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from twoloops.errors import ProjectError
from twoloops.platforms.aws.login import log_in

from tests.engine.support.aws_stubs import ACCOUNT

ROLE = f"arn:aws:iam::{ACCOUNT}:role/train"
GIVEN = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>key</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken>
<Expiration>2030-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
REFUSED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized</Message></Error></ErrorResponse>"""


class Asked:
    """What AWS was asked, and whether it gives the role."""

    def __init__(self) -> None:
        self.role = True
        self.forms: list[dict[str, str]] = []

    def answer(self, body: str, login: str | None) -> tuple[int, str]:
        """Return the status and the content of an answer."""
        assert login is None, "who has no role yet signs nothing"
        self.forms.append({name: values[0] for name, values in parse_qs(body).items()})
        return (200, GIVEN) if self.role else (403, REFUSED)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    known = Asked()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            status, content = known.answer(body, self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield known
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_token_is_exchanged_for_a_role(asked: Asked) -> None:
    found = log_in("an identity", ROLE, "azure-7", 3600)
    (form,) = asked.forms
    assert (form["RoleArn"], form["WebIdentityToken"]) == (ROLE, "an identity")
    assert (form["DurationSeconds"], form["RoleSessionName"]) == ("3600", "azure-7")
    assert found == {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "aws_session_token": "session"}


def test_a_refusal_is_told_in_words(asked: Asked) -> None:
    asked.role = False
    with pytest.raises(ProjectError, match="the login may not do that: Not authorized") as refused:
        log_in("an identity", ROLE, "azure-7", 3600)
    assert refused.value.hint
