"""What the suite of flows asks of every code host."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

from twoloops.contracts.host import SetupRequest
from twoloops.delivery import bootstrap

from tests.flows.project import FlowProject

BY_HAND, PUSH, SCHEDULE = "by hand", "push", "schedule"


@dataclass(frozen=True)
class Outcome:
    """What became of a flow."""

    succeeded: bool
    log: str
    kept: dict[str, Path] = field(default_factory=dict)  # the folders of artifacts, by what they are called


class CodeHost(ABC):
    """A code host around a project: its interface on loopback, its flows run to their end on this machine."""

    NAME: ClassVar[str]
    # By which it hands its own login to a step.
    LOGIN: ClassVar[str]
    REPORT_LOGIN: ClassVar[str]  # that of a change's pipeline

    def __init__(self, project: FlowProject, fake: Any) -> None:
        """Keep the project, and the fake that answers at the host's interface."""
        self.project, self.fake = project, fake

    @classmethod
    @abstractmethod
    def around(cls, project: FlowProject) -> AbstractContextManager[CodeHost]:
        """Serve the host's interface; what a client should not have asked fails at the end."""

    @property
    def repository(self) -> str:
        """How the host's tokens name the repository."""
        return str(self.fake.known_as)

    @abstractmethod
    def owner(self) -> AbstractContextManager[Mapping[str, str]]:
        """Give the environment in which the project's owner reaches the host."""

    @abstractmethod
    def run(self, flow: str, event: str = BY_HAND, *, approved: bool = True, **inputs: str) -> Outcome:
        """Run a flow to its end on main, or without an approval of the last environment as far as it comes."""

    @abstractmethod
    def change(self, *, branch: str = "change", message: str = "Change", fork: bool = False) -> Outcome:
        """Run what a change of the newest commit runs, as a branch of that name.

        Args:
            branch: its name.
            message: of its commit, and its title.
            fork: does it come from another repository?
        """

    @abstractmethod
    def set(self, name: str, value: str) -> None:
        """Change a variable that `bootstrap` has set."""

    def set_up(self, **variables: str) -> None:
        """Set the host up for the flows, by the steps of the verb `bootstrap`."""
        wanted = SetupRequest(self.project.environments, ("ml-team",), variables)
        with self.owner() as login, chdir(self.project.folder), patch.dict(os.environ, login):
            bootstrap.apply(bootstrap.prepare(wanted), lambda line: None)

    @contextmanager
    def mixed_up(self) -> Iterator[None]:
        """Let the tokens for a while name another repository."""
        own, self.fake.known_as = self.fake.known_as, self.fake.known_as.replace("churn", "stranger")
        try:
            yield
        finally:
            self.fake.known_as = own
