"""What every registry of models can be asked, whatever keeps it: versions that never change, and names that move.

A registry is a function `connect(uri, model)` that returns such an object, registered as an entry point of the group
`twoloops.registries` under the scheme of the tracking URI that it serves. Where none is, MLflow's own is asked.
`tests/engine/registries/conformance.py` of the template's repository holds each to this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from twoloops import config

IDENTITY = "model_identity"  # tag of a version: its artifact's
JUDGED = "judged_identity"  # tag of a version: that of the artifact which its verdict is about
ARTIFACT = "model"  # the folder of a run that holds the model artifact, as it was judged
REFITTED = "refitted"  # the folder with the same recipe, fitted on the holdout too


@dataclass(frozen=True)
class Version:
    """A registered model version."""

    number: str
    run_id: str
    tags: Mapping[str, str]
    registered_at: str  # ISO 8601, UTC

    @property
    def uri(self) -> str:
        """The address that `Predictor.load` takes."""
        return f"models:/{config.current().package}/{self.number}"


class Registry(Protocol):
    """The versions of one model. Each call raises ProjectError where the registry cannot be reached or refuses."""

    @property
    def server(self) -> str:
        """Where MLflow's client finds the runs."""

    def store_files(self, run_id: str, files: Mapping[Path, str]) -> None:
        """Keep the files of a run: local files and folders, and the run's folder that each goes into."""

    def find(self, alias: str) -> Version | None:
        """Return the version that has the alias, or None."""

    def get(self, number: str) -> Version:
        """Return a version by its number.

        Raises:
            ProjectError: there is no such version.
        """

    def create_version(self, run_id: str, tags: Mapping[str, str], folder: str = ARTIFACT) -> Version:
        """Register an artifact of a run as a new version; its number is given to no other.

        Args:
            run_id: the run's identifier.
            tags: of the version; IDENTITY is one of them.
            folder: of the run, that holds the artifact.
        """

    def find_version(self, tag: str, value: str) -> Version | None:
        """Return the newest version whose tag has this value, or None."""

    def set_tag(self, number: str, tag: str, value: str) -> None:
        """Record something about a version that was learnt after it was registered."""

    def set_alias(self, alias: str, number: str) -> None:
        """Let an alias name a version; what another process does to another alias meanwhile stays."""

    def remove_alias(self, alias: str) -> None:
        """Let an alias name no version."""

    def download(self, number: str, folder: Path) -> Path:
        """Download a version's artifact into a folder, and return where it lies there."""

    def download_judged(self, version: Version, folder: Path) -> Path:
        """Download the artifact that the verdict on a version is about, and return where it lies."""
