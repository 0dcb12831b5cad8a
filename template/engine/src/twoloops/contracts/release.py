"""What runs where: the words in which deployment speaks with every platform."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from twoloops import config
from twoloops.errors import ProjectError

if TYPE_CHECKING:
    from twoloops.registry import Version


class UnfitError(ProjectError):
    """A version did not show what is demanded of it; users were kept from it."""


@dataclass(frozen=True)
class Release:
    """A registered version as an environment runs it."""

    version: str
    identity: str  # of the artifact: what runs is what was registered, byte for byte
    registered_at: str  # ISO 8601, UTC

    @classmethod
    def of(cls, version: Version) -> Release:
        """Return the release of a registered version.

        Raises:
            ProjectError: the verb `register` did not make it.
        """
        identity = version.tags.get("model_identity")
        if identity is None:
            raise ProjectError(
                f"Version {version.number} does not say which artifact it is (tag model_identity).",
                hint="Only versions that the verb 'register' made can be deployed.",
            )
        return cls(version.number, identity, version.registered_at)

    @property
    def uri(self) -> str:
        """Where the registry has its artifact."""
        return f"models:/{config.current().package}/{self.version}"


@dataclass(frozen=True)
class Deployment:
    """What an environment is to run: a stable version, and perhaps a canary that takes a share of the requests."""

    stable: Release
    canary: Release | None = None
    share: float = 0.0

    def runs(self, version: str) -> bool:
        """Say whether this version alone answers."""
        return self.canary is None and self.stable.version == version


@dataclass(frozen=True)
class Status:
    """What a running service says of itself."""

    ready: bool
    stable: str | None = None  # version numbers
    canary: str | None = None
    share: float = 0.0
    problem: str | None = None  # why it does not run what it was told to


@dataclass(frozen=True)
class Traffic:
    """What a service has counted for one version since it started."""

    answered: float = 0  # requests
    errors: float = 0  # the model raised, or gave what is not a number
    seconds: float = 0  # of inference, all answers together
    buckets: tuple[tuple[float, float], ...] = ()  # upper bound in seconds, and how many answers did not exceed it

    @property
    def requests(self) -> float:
        """Every request that the version was asked to answer."""
        return self.answered + self.errors

    @property
    def mean(self) -> float:
        """Seconds of inference for one answer, on average."""
        return self.seconds / self.answered if self.answered else 0.0

    def since(self, before: Traffic) -> Traffic:
        """Return what came after `before`; a service that was started anew counts from zero."""
        if before.requests > self.requests:
            return self
        earlier = dict(before.buckets)
        buckets = tuple((bound, count - earlier.get(bound, 0)) for bound, count in self.buckets)
        return Traffic(
            self.answered - before.answered, self.errors - before.errors, self.seconds - before.seconds, buckets
        )

    def quantile(self, share: float) -> float:
        """Return the time, in seconds, that this share of the answers did not exceed.

        Within a bucket the times are taken as evenly spread, as Prometheus' histogram_quantile does:
        https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
        """
        total = self.buckets[-1][1] if self.buckets else 0
        if not total:
            return 0.0
        rank = share * total
        for (low, below), (high, count) in pairwise([(0.0, 0.0), *self.buckets]):
            if count >= rank and count > below:
                return low if high == float("inf") else low + (high - low) * (rank - below) / (count - below)
        return 0.0
