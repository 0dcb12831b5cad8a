"""What every code host's client does."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from twoloops.hosts.web import Client, HostError

TOKENS = {"PRIVATE-TOKEN": "secret", "Authorization": "Bearer secret"}


def test_no_answer_from_the_host_is_told_in_words() -> None:
    client = Client("The host", "http://127.0.0.1:9", {}, "")
    with pytest.raises(HostError, match="does not answer"):
        client.ask("POST", "anything", {})


@dataclass
class Web:
    """A server of loopback: what it answers by path, and what it was asked."""

    answers: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path and token
    root: str = ""


def serve() -> tuple[ThreadingHTTPServer, Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            web.asked.append((f"{self.command} {self.path}", self.headers.get("PRIVATE-TOKEN")))
            status, headers = web.answers.get(self.path, (200, {}))
            body = json.dumps([self.path]).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    web.root = f"http://127.0.0.1:{server.server_port}"
    return server, web


@pytest.fixture
def hosts() -> Iterator[tuple[Web, Web]]:
    """Give the code host, and another one that wants its tokens."""
    servers, webs = zip(*(serve() for _ in range(2)), strict=True)
    yield webs
    for each in servers:
        each.shutdown()
        each.server_close()


def test_no_login_goes_to_another_host(hosts: tuple[Web, Web]) -> None:
    host, other = hosts
    client = Client("The host", host.root, TOKENS, "")
    host.answers = {
        "/moved": (302, {"Location": f"{other.root}/stolen"}),
        "/renamed": (307, {"Location": f"{other.root}/stolen"}),
        "/list": (200, {"Link": f'<{other.root}/stolen>; rel="next"'}),
        "/localhost": (302, {"Location": host.root.replace("127.0.0.1", "localhost") + "/stolen"}),
    }
    with pytest.raises(HostError, match="points to another host"):
        client.get("moved")
    with pytest.raises(HostError, match="points to another host"):
        client.get("localhost")
    with pytest.raises(HostError, match="points to another host"):
        client.ask("POST", "renamed", {})
    with pytest.raises(HostError, match="points to another host"):
        list(client.pages("list"))
    assert other.asked == []


def test_a_redirect_on_the_same_host_is_followed(hosts: tuple[Web, Web]) -> None:
    host, _ = hosts
    client = Client("The host", host.root, TOKENS, "")
    host.answers = {
        "/old": (301, {"Location": "/new"}),
        "/renamed": (307, {"Location": "/new"}),
        "/list": (200, {"Link": '</more>; rel="next"'}),
        "/circle": (302, {"Location": "/circle"}),
        "/sign-in": (302, {"Location": "/page"}),
    }
    assert client.get("old") == ["/new"]
    assert client.ask("POST", "renamed", {}) == ["/new"]
    assert list(client.pages("list")) == ["/list", "/more"]
    with pytest.raises(HostError, match="answers 302"):
        client.get("circle")
    with pytest.raises(HostError, match="answers 302"):
        client.ask("POST", "sign-in", {})
    assert {token for _, token in host.asked} == {"secret"}
    assert ("POST /new", "secret") in host.asked
