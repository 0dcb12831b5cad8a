"""Azure ML's registry of models: `contracts.registry.Registry` for the workspace that trains.

The workspace is an MLflow server for runs. Its registry knows no aliases, and wants files in MLflow's own form. So the
files lie in the project's container, by their identity; versions are those of Resource Manager, which people see in the
studio; and which one is champion stands in one small file, which is written only as it was read. The next number stands
there too: two that register at once get two.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from twoloops import artifact
from twoloops.contracts.registry import ARTIFACT, IDENTITY, JUDGED, Version
from twoloops.errors import ProjectError
from twoloops.platforms.azure import SCHEME, blobs, rest
from twoloops.platforms.azure.account import Names, names
from twoloops.platforms.azure.rest import explain_errors
from twoloops.platforms.shared.objects import model_url, upload_model

RUN = "run_id"  # tag of a version
LOGIN = "MLFLOW_TRACKING_AUTH"  # names, for MLflow's client, who adds the login: `mlflow_login`
Content = dict[str, Any]


def tracking_uri(known: Names) -> str:
    """Return the address of the workspace's own MLflow server, in the form in which Azure ML names it."""
    return f"{SCHEME}://{known.region}.api.azureml.ms/mlflow/v1.0{known.workspace()}"


@dataclass(frozen=True)
class AzureRegistry:
    """The registry of a model."""

    uri: str
    model: str

    @property
    def server(self) -> str:
        """Where MLflow's own client finds the runs; the login is renewed with each request that needs it."""
        os.environ.setdefault(LOGIN, SCHEME)
        # "v1.0" is that of the address; the server speaks MLflow 2.
        return self.uri.replace(f"{SCHEME}://", "https://", 1).replace("/mlflow/v1.0/", "/mlflow/v2.0/", 1)

    @property
    def _path(self) -> str:
        return f"{names().workspace()}/models/{self.model}"

    @property
    def _index(self) -> str:
        return f"{names().home}/models/registry/{self.model}.json"

    def store_files(self, run_id: str, files: Mapping[Path, str]) -> None:
        """Keep the artifact by its identity, and what people look at beside, in the run's folder."""
        for path, place in files.items():
            if (path / artifact.MANIFEST).is_file():
                upload_model(blobs, names().home, path)
                continue
            found = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
            for each in found:
                inside = each.relative_to(path.parent if path.is_file() else path).as_posix()
                blobs.upload(each, f"{names().home}/models/tracking/{run_id}/{place}/{inside}")

    def find(self, alias: str) -> Version | None:
        """Return the version that has the alias, or None."""
        number = self._read()["aliases"].get(alias)
        return self.get(number) if number else None

    def get(self, number: str) -> Version:
        """Return a version by its number.

        Raises:
            ProjectError: there is no such version.
        """
        return _version(self._get(number))

    def _get(self, number: str) -> Content:
        with explain_errors(f"Looking at version {number} of {self.model}"):
            found = rest.find(f"{self._path}/versions/{number}")
        if found is None:
            raise ProjectError(
                f"There is no version {number} of {self.model}.", hint="The verb 'status' names those that run."
            )
        return found

    def create_version(self, run_id: str, tags: Mapping[str, str], folder: str = ARTIFACT) -> Version:
        """Register an artifact of a run as a new version: its identity says which, whatever its folder."""
        url = model_url(names().home, tags[IDENTITY])
        if not blobs.exists(f"{url}/{artifact.MANIFEST}"):
            raise ProjectError(
                f"The artifact {tags[IDENTITY][:12]} is not in {names().home}.", hint="Run the verb 'evaluate' again."
            )
        number = self._take_number()
        properties = {
            "modelType": "custom_model",
            "modelUri": names().datastore(None, url),
            "description": f"{self.model} version {number}",
            "tags": {**tags, RUN: run_id},
        }
        with explain_errors(f"Registering version {number} of {self.model}"):
            made = rest.ask("PUT", f"{self._path}/versions/{number}", {"properties": properties})
        return _version(made)

    def find_version(self, tag: str, value: str) -> Version | None:
        """Return the newest version whose tag has this value, or None."""
        found = [each for each in self._versions() if each["properties"].get("tags", {}).get(tag) == value]
        return _version(max(found, key=lambda each: int(each["name"]))) if found else None

    def _versions(self) -> Iterator[Content]:
        if not self._read()["next"] > 1:
            return
        with explain_errors(f"Listing the versions of {self.model}"):
            yield from (each for each in rest.pages(f"{self._path}/versions") if each["name"].isdigit())

    def set_tag(self, number: str, tag: str, value: str) -> None:
        """Record something about a version."""
        found = self._get(number)["properties"]
        kept = {name: found[name] for name in ("modelType", "modelUri", "description") if name in found}
        content = {"properties": {**kept, "tags": {**found.get("tags", {}), tag: value}}}
        with explain_errors(f"Recording {tag} of version {number}"):
            rest.ask("PUT", f"{self._path}/versions/{number}", content)

    def set_alias(self, alias: str, number: str) -> None:
        """Let an alias name a version."""
        self._get(number)
        self._change(lambda index: index["aliases"].update({alias: number}))

    def remove_alias(self, alias: str) -> None:
        """Let an alias name no version."""
        self._change(lambda index: index["aliases"].pop(alias, None))

    def download(self, number: str, folder: Path) -> Path:
        """Download a version's artifact."""
        return self._download(self.get(number).tags[IDENTITY], folder)

    def download_judged(self, version: Version, folder: Path) -> Path:
        """Download the artifact that the verdict on a version is about."""
        return self._download(version.tags.get(JUDGED, version.tags[IDENTITY]), folder)

    def _download(self, identity: str, folder: Path) -> Path:
        url = model_url(names().home, identity)
        blobs.download(url, folder, list(blobs.sizes(url)))
        return folder

    # ------------------------------------------------------------------ the index

    def _read(self) -> Content:
        return _index(blobs.read_bytes(self._index) if blobs.exists(self._index) else None)

    def _change(self, change: Any) -> None:
        def write(before: bytes | None) -> bytes:
            index = _index(before)
            change(index)
            return json.dumps(index, indent=2, sort_keys=True).encode()

        blobs.change_bytes(self._index, write)

    def _take_number(self) -> str:
        taken = []

        def take(index: Content) -> None:
            taken.append(index["next"])
            index["next"] += 1

        self._change(take)
        return str(taken[-1])


def _index(content: bytes | None) -> Content:
    found: Content = {"aliases": {}, "next": 1} if content is None else json.loads(content)
    return found


def _version(found: Content) -> Version:
    tags = dict(found["properties"].get("tags", {}))
    created = datetime.fromisoformat(found["systemData"]["createdAt"])
    return Version(found["name"], tags.pop(RUN, ""), tags, created.isoformat(timespec="seconds"))
