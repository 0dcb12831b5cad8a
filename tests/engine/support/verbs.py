"""Verbs, called in this process as the command calls them."""

from __future__ import annotations

from importlib import import_module

from click.testing import Result
from twoloops import cli
from typer.testing import CliRunner


def call(*words: str, **how: str) -> Result:
    """Call a verb of the current project.

    Args:
        words: the verb and its options.
        how: `input`: what the user types.
    """
    for room in cli.rooms():
        import_module(f"twoloops.verbs.{room}")
    from twoloops.verbs import app

    return CliRunner().invoke(app, list(words), **how)  # type: ignore[arg-type]
