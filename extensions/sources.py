"""Addresses of templates and repositories: what one may be, what git calls it, and what is recorded of it.

An address comes from a file of a project, from a list or from an option. It is data: one that would run a program, or
that git would take for an option, is refused after every prefix is gone, and before git sees it.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from .refusal import Refused

SCHEMES = ("https", "ssh", "file")
SHORT = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}  # Copier's short names of code hosts
# A scheme, a program of git's (`name::address`), or `host:path` as ssh has it; one letter would be a drive of Windows.
URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]*::.*", re.DOTALL)
SSH = re.compile(r"(?:[^\s@:/-][^\s@:/]*@)?(?P<host>[\w][\w.-]+):(?P<path>[^\s:-][^\s]*)")
FORMS = "https://HOST/PATH, ssh://HOST/PATH, USER@HOST:PATH, gh:OWNER/NAME, gl:OWNER/NAME, or the path of a folder"


def is_remote(address: str) -> bool:
    """Tell whether an address is reached by URL, and not a path of this machine."""
    return bool(URL.match(address) or HELPER.match(address) or SSH.match(address))


def address(source: str, base: Path | None = None) -> str:
    """Return what git calls a source: an absolute path, or a URL of a scheme that runs no program.

    Args:
        source: an address as a person or a file gives it; Copier's `git+`, `gh:` and `gl:` may stand before it.
        base: the folder from which a relative path leads; None: the present one.

    Raises:
        Refused: it is no address, or one of another kind.
    """
    plain = source.strip()
    while plain.startswith("git+"):
        plain = plain.removeprefix("git+")
    for short, whole in SHORT.items():
        if plain.startswith(short):
            plain = whole + plain.removeprefix(short).lstrip("/")
    if not plain or plain.startswith("-") or re.search(r"[\x00-\x1f\x7f]", plain):
        raise Refused(f"{source!r} is no address of a template or repository.", hint=f"Write {FORMS}.")
    found = URL.fullmatch(plain)
    if found is None and HELPER.fullmatch(plain):
        raise Refused(f"{source} would run a program of git's, which no address may.", hint=f"Write {FORMS}.")
    if found is not None:
        scheme = found["scheme"].lower()
        if scheme not in SCHEMES:
            why = "Whoever is on the way can change what comes over http and git: take https or ssh."
            hint = why if scheme in ("http", "git") else f"Write {FORMS}."
            raise Refused(f"{source}: {scheme}:// is none of {', '.join(SCHEMES)}.", hint=hint)
        host, _, path = found["rest"].partition("/")
        if host.rpartition("@")[2].startswith("-") or path.startswith("-"):
            raise Refused(f"{source!r} is no address of a template or repository.", hint=f"Write {FORMS}.")
        return plain
    if SSH.fullmatch(plain):
        return plain
    place = Path(plain).expanduser()
    return str(((base or Path()) / place).resolve())


def for_copier(source: str) -> str:
    """Return a source as Copier takes it for a repository, whatever the address looks like.

    Raises:
        Refused: it is no address, or one of another kind.
    """
    plain = address(source)
    return f"git+{plain}" if is_remote(plain) else plain


def recorded(source: str, base: Path | None = None) -> str:
    """Return what an answers file or a policy says of a source: what was given, a path as one that holds everywhere.

    Raises:
        Refused: it is no address, or one of another kind, or it holds a password, which files are no place for.
    """
    plain = address(source, base)
    refuse_secret(source, "An address")
    return source.strip() if is_remote(plain) else plain


def refuse_secret(value: object, what: str) -> None:
    """Refuse a URL with a password or token in it: it would be written into files that many read.

    Args:
        value: a value that is going to be written.
        what: what it is, for the message.

    Raises:
        Refused: it holds one.
    """
    for url in re.findall(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+", str(value)):
        try:
            parts = urlsplit(url)
            secret = parts.password or (parts.username if parts.scheme in ("http", "https", "git+https") else "")
        except ValueError:
            continue
        if secret:
            shown = url.replace(parts.netloc, f"...@{parts.netloc.rpartition('@')[2]}")
            raise Refused(
                f"{what} holds a user, password or token: {shown}. It would be written into files that many read.",
                hint="Leave it out, and give it by git's credentials, or by the variables and the keyring of uv.",
            )
