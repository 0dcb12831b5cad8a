"""How a verb that takes a while speaks with a person: lines that stay, a line that changes, a question."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

import typer

from twoloops.errors import ProjectError


class Conversation:
    """Lines go to standard output; what goes on now is shown on standard error, where a person watches."""

    def __init__(self, *, quiet: bool) -> None:
        """Say nothing on standard output when `quiet`: it is a machine's."""
        from rich.console import Console

        self._quiet = quiet
        self._status = Console(stderr=True).status("") if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        """Begin to show what goes on."""
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        if self._status:
            self._status.stop()

    def say(self, line: str) -> None:
        """Print a line."""
        if not self._quiet:
            self._print(line, error=False)

    def warn(self, line: str) -> None:
        """Print a line about what did not go well."""
        self._print(line, error=True)

    def progress(self, line: str) -> None:
        """Show what goes on now."""
        if self._status:
            self._status.update(line)

    def ask(self, question: str) -> bool:
        """Return a person's answer; where there is nobody to ask, it is no."""
        if not (sys.stdin.isatty() and self._status):
            return False
        self._status.stop()
        answer = typer.confirm(question, err=True)
        self._status.start()
        return answer

    def fail(self, error: ProjectError) -> None:
        """Print an error and what to do."""
        self.warn(f"Error: {error}")
        if error.hint:
            self.warn(f"What to do: {error.hint}")

    def _print(self, line: str, *, error: bool) -> None:
        if self._status:
            self._status.stop()
        typer.echo(line, err=error)
        if self._status:
            self._status.start()
