"""Verbs, called in this process as the command calls them."""

from __future__ import annotations

from typing import Any

from click.testing import Result
from twoloops import cli
from typer.testing import CliRunner


def call(*words: str, **how: Any) -> Result:
    """Call a verb of the current project.

    Args:
        words: the verb and its options.
        how: options of CliRunner.invoke, such as `input`: what the user types.
    """
    return CliRunner().invoke(cli.command(cli.rooms()), list(words), **how)  # type: ignore[return-value]
