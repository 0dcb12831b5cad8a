"""Who may call the service: what its deployment says, and the service only keeps.

Three things, each of them optional: tokens in a file, pages of other origins that may call, and a port of its own
for metrics and for what the service says of itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from twoloops.errors import ProjectError

SHORTEST_TOKEN: Final = 16  # characters
SCHEME: Final = b"bearer "
# Whatever starts and restarts the service asks these, and has no token; they say no more than yes or no.
PROBES: Final = frozenset({"/", "/health/live", "/health/ready", "/ping", "/v2/health/live", "/v2/health/ready"})
ADMIN: Final = frozenset({"/metrics"})  # are at the admin port alone, where there is one


@dataclass
class Access:
    """Who may call, and what is told to whom."""

    token_file: Path | None = None  # one token a line: while one is exchanged for the next, both are good
    origins: Sequence[str] = ()  # of pages that may call, such as https://example.com
    admin_port: int | None = None
    tells: bool = True  # at /health/ready: which models and why not others; there may be paths in it
    _tokens: frozenset[bytes] = frozenset()  # their SHA-256
    _seen: tuple[int, int, int] | None = None
    _origins: frozenset[bytes] = field(init=False)

    def __post_init__(self) -> None:
        """Read the tokens.

        Raises:
            ProjectError: there is none, or one that can be guessed.
        """
        self._origins = frozenset(each.rstrip("/").encode() for each in self.origins)
        if self.token_file:
            self.refresh()

    @property
    def guards(self) -> bool:
        """Whether a token is asked for."""
        return self.token_file is not None

    def refresh(self) -> bool:
        """Read the tokens if their file has changed, and say whether it has.

        Raises:
            ProjectError: there is none, or one that can be guessed. Those before stay good.
        """
        if self.token_file is None:
            return False
        try:
            status = self.token_file.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen == self._seen:
                return False
            self._seen = seen
            tokens = read_tokens(self.token_file)
        except (OSError, ValueError) as error:
            raise ProjectError(
                f"{self.token_file}, which should hold the tokens of who may call, cannot be used: {error}",
                hint=f"One token a line, {SHORTEST_TOKEN} characters or more each; 'openssl rand -hex 32' makes one.",
            ) from error
        self._tokens = frozenset(_digest(each) for each in tokens)
        return True

    def knows(self, headers: Mapping[bytes, bytes]) -> bool:
        """Say whether a request has one of the tokens."""
        given = headers.get(b"authorization", b"")
        if given[: len(SCHEME)].lower() != SCHEME:
            return False
        # Hashes are compared: how long that takes tells nothing of a token.
        return _digest(given[len(SCHEME) :].strip()) in self._tokens

    def allows(self, origin: bytes) -> bool:
        """Say whether a page of this origin may call. The service has no pages, so that every one is a foreign one."""
        return origin in self._origins


def read_tokens(path: Path) -> list[bytes]:
    """Return the tokens of a file, one a line.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds none, or one that is short.
    """
    tokens = path.read_bytes().split()
    if not tokens:
        raise ValueError("it holds no token.")
    if min(map(len, tokens)) < SHORTEST_TOKEN:
        raise ValueError("one of its tokens is short.")
    return tokens


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
