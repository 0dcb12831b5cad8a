"""What every code host can be asked: where a project is hosted, whatever that is.

A host is a module or object with these names, registered as an entry point of the group `twoloops.hosts`. It is the
only room that knows the host; flows' files are lists of verbs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Issue:
    """An open issue on the code host."""

    number: str
    url: str
    body: str


class State(StrEnum):
    """How things stand with a step of the set-up."""

    there = "there"
    missing = "missing"
    differs = "differs"
    by_hand = "by hand"  # the host offers no way, or the login may not: `about` says what to do


@dataclass(frozen=True)
class Step:
    """One thing that the code host must have."""

    name: str  # stays the same for ever: what was made is remembered by it
    about: str  # in a line: what it is for, or what is to be done by hand
    state: State
    do: Callable[[], None] | None = None  # makes or corrects it
    undo: Callable[[], None] | None = None  # removes it


@dataclass(frozen=True)
class SetupRequest:
    """What `bootstrap` was asked for."""

    environments: tuple[str, ...]  # in the order in which a model passes through them; the last one serves users
    reviewers: tuple[str, ...] = ()  # who may approve the last environment: handles of teams or people
    variables: Mapping[str, str] = field(default_factory=dict)  # that the flows read, by name


class Setup(Protocol):
    """What changes the host's settings, in steps."""

    def preflight(self) -> list[str]:
        """Say in lines what stands in the way, each with the way out; nothing when all is well."""

    def plan(self, wanted: SetupRequest) -> list[Step]:
        """Return every step with its present state, in the order to do."""

    def list_made(self) -> list[str]:
        """Return the names of the steps that bootstrap made."""

    def save_made(self, names: list[str]) -> None:
        """Note on the host what bootstrap made; an empty list removes the note."""


class CodeHost(Protocol):
    """Where the project is hosted."""

    @property
    def NAME(self) -> str:  # noqa: N802 - a constant of a module
        """What people call it."""

    def in_flow(self) -> bool:
        """Say whether this process runs in a flow."""

    def run_url(self) -> str | None:
        """Return the page of this run, or None outside a flow."""

    def change(self) -> str | None:
        """Return the number of the change that this run checks, or None."""

    def base(self) -> str | None:
        """Return the git revision to compare a change with, or None when this run checks none."""

    def from_fork(self) -> bool:
        """Say whether the change comes from another repository: then there are no secrets, and no right to write."""

    def set_output(self, name: str, value: str) -> None:
        """Hand a value to later jobs of the flow."""

    def set_variable(self, name: str, value: str, *, secret: bool = False) -> None:
        """Set a variable of the environment for the later steps of this job.

        A secret is masked in the log where the host can do that. What is worth more goes to a file in
        `temporary_folder`, and only its path is set.

        Raises:
            ProjectError: this is no job of a flow, or the host cannot hand the value on.
        """

    def variables(self) -> Mapping[str, str]:
        """Return the variables that `bootstrap` has set on the host, as far as this job is given them."""

    def temporary_folder(self) -> Path:
        """Return the folder for this job's own files: outside the checkout, and emptied by the runner.

        Raises:
            ProjectError: this is no job of a flow.
        """

    def add_summary(self, markdown: Path) -> None:
        """Show a page with the run."""

    def comment(self, number: str, mark: str, body: str) -> str:
        """Show a page on a change, in place of the one with the same mark, and return its address."""

    def find_issue(self, label: str) -> Issue | None:
        """Return the open issue with the label, or None."""

    def open_issue(self, title: str, body: str, label: str) -> Issue:
        """Open an issue."""

    def update_issue(self, issue: Issue, body: str) -> None:
        """Replace the text of an issue."""

    def close_issue(self, issue: Issue, body: str) -> None:
        """Close an issue with a last text."""

    def start(self, flow: str, inputs: Mapping[str, str]) -> str | None:
        """Start a flow on main, and return where it can be watched, if that is known."""

    def propose(self, branch: str, title: str, body: str) -> str:
        """Open a change of a branch, and return its address."""

    def identifiers(self) -> dict[str, str]:
        """Return how tokens of the host name this repository: the variables of infra/bootstrap/code_host.tf."""

    def token(self, audience: str) -> str:
        """Return a signed token that says which repository, and which job of it, this process is.

        Raises:
            ProjectError: this is no job of a flow, or it was not given the right.
        """

    def setup(self) -> Setup:
        """Return what changes the host's settings."""
