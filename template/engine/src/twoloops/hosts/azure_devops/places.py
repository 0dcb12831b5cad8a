"""Where things are on Azure DevOps: what settings.py and guards.py look up there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twoloops import config
from twoloops.contracts.host import State
from twoloops.hosts.azure_devops import host
from twoloops.hosts.web import Client, HostError


def settings_group() -> str:
    """Return the name of the variable group that azure-pipelines/templates/settings.yml names."""
    return config.current().package


@dataclass(frozen=True)
class Place:
    """A repository, its project and organization, and the login that asks about them."""

    azure: Client
    where: host.Place
    organization: str  # identifiers
    project: str
    repository: str

    def api(self, path: str) -> str:
        """Return the address of a path below the project."""
        return self.where.api(path)

    def named(self, path: str, name: str, key: str = "name") -> Any | None:
        """Return the entry of a list that has this very name, or None."""
        found = self.azure.get(self.api(path), **{key: name})["value"]
        return next((entry for entry in found if entry["name"] == name), None)

    def group(self, name: str | None = None) -> Any | None:
        """Return a variable group, without a name that of the settings, or None."""
        name = name or settings_group()
        return self.named("distributedtask/variablegroups", name, "groupName")

    def environment(self, name: str) -> Any | None:
        """Return an environment, or None."""
        return self.named("pipelines/environments", name)

    def pipeline(self, flow: str) -> Any | None:
        """Return the pipeline of a flow, or None."""
        return self.named("build/definitions", host.pipeline_name(flow))

    def pool(self, name: str) -> Any | None:
        """Return an agent pool as the project sees it, or None."""
        return self.named("distributedtask/queues", name, "queueName")

    def area(self) -> str:
        """Return the identifier of the project's root area, below which its work items are."""
        return str(self.azure.get(self.api("wit/classificationnodes/areas"))["identifier"])

    def remove(self, path: str) -> None:
        """Delete what lies at a path below the project; that it is gone already is as good."""
        try:
            self.azure.ask("DELETE", self.api(path))
        except HostError as error:
            if error.status != 404:
                raise


def find_place() -> Place:
    """Return the place that the login, and the flow or the git remote, tell.

    Raises:
        ProjectError: there is no login, or no such repository.
    """
    azure, where = host.client(), host.place()
    organization = azure.get(f"{where.collection}_apis/connectionData")["instanceId"]
    found = azure.get(where.api("", of="repository").rstrip("/"))
    return Place(azure, where, organization, found["project"]["id"], found["id"])


def state_of(present: object, right: bool) -> State:
    """Return how things stand with what is present, or not, and right, or not."""
    return State.missing if not present else State.there if right else State.differs


def covers(present: Any, wanted: Any) -> bool:
    """Say whether a setting has all that is wanted; the host adds more of its own."""
    if isinstance(wanted, Mapping):
        return isinstance(present, Mapping) and all(covers(present.get(name), each) for name, each in wanted.items())
    if isinstance(wanted, list):
        return isinstance(present, list) and len(present) == len(wanted) and all(map(covers, present, wanted))
    return str(present).lower() == str(wanted).lower()


def identity_server(where: host.Place) -> str:
    """Return where people and teams are looked up: the cloud has a server of its own for them."""
    for suffix in ("dev.azure.com", ".visualstudio.com"):
        server = where.collection.split("/")[2]
        if server.endswith(suffix):
            organization = where.collection.rstrip("/").rpartition("/")[2].removesuffix(".visualstudio.com")
            return f"https://vssps.dev.azure.com/{organization}/_apis/identities"
    return f"{where.collection}_apis/identities"
