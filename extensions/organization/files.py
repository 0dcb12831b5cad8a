"""What a careful author's file has: it parses, and nothing in it is left over."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import yaml

LEFTOVER = re.compile(r"(?<!\$)\{\{|\{%|%\}|(?<!\})\}\}(?!\})")


def problem(name: str, content: bytes, *, rendered: bool) -> str:
    """Return what is wrong with a project's file; nothing when all is right.

    Args:
        name: its path in the project.
        content: what is in it.
        rendered: whether Jinja made it, so that none may be left in it.
    """
    if b"\0" in content:
        return ""
    try:
        text = content.decode()
        _parse(name, text)
    except (ValueError, SyntaxError, yaml.YAMLError) as error:
        return f"it cannot be read: {' '.join(str(error).split())}"
    return untidy(name, text) or (_left_over(text) if rendered and not name.endswith(".py") else "")


def _parse(name: str, text: str) -> None:
    suffix = Path(name).suffix
    if suffix == ".py":
        ast.parse(text)
    elif suffix == ".toml":
        tomllib.loads(text)
    elif suffix in (".yaml", ".yml"):
        list(yaml.compose_all(text, yaml.SafeLoader))  # without making values: tags of GitLab's are welcome
    elif suffix == ".json":
        json.loads(text)


# Files that say something by being there: https://typing.python.org/en/latest/spec/distributing.html
MARKERS = ("py.typed",)


def untidy(name: str, text: str) -> str:
    """Return what in a file's white space a careful author would not leave; nothing when all is right."""
    if not text.strip():
        return "" if name.endswith(MARKERS) else "it is empty"
    if "\r" in text:
        return "it has carriage returns"
    if not text.endswith("\n") or text.endswith("\n\n"):
        return "it does not end in one newline"
    for number, line in enumerate(text.splitlines(), 1):
        if line != line.rstrip():
            return f"line {number} ends in white space"
    prose = re.sub(r"^```.*?^```", "(code)", text, flags=re.DOTALL | re.MULTILINE)  # code has rules of its own
    if "\n\n\n" in prose and not name.endswith((".py", ".py.j2")) and "LICENSE" not in name:
        return "it has two blank lines in a row"
    return ""


def _left_over(text: str) -> str:
    found = LEFTOVER.search(text) if "${{" not in text else None
    return f"Jinja is left over in line {text.count(chr(10), 0, found.start()) + 1}" if found else ""
