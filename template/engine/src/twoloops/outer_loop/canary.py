"""A new version takes a small share of the requests, and is watched."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twoloops.contracts.client import SilentError
from twoloops.contracts.release import Deployment, Traffic, UnfitError
from twoloops.errors import ProjectError
from twoloops.outer_loop import sequential
from twoloops.outer_loop.trial import encode_json, post

if TYPE_CHECKING:
    from twoloops.contracts.platform import Platform
    from twoloops.params import DeployParams

Say = Callable[[str], None]

TURN_SECONDS = 1.0  # between two looks at the metrics, and more where these come late:
LOOKS = 20  # so often is looked while they are on their way
ENOUGH = 20  # answers of each version, before their times are compared
TAIL = 0.95
PATIENCE_SECONDS = 60.0  # beyond canary_seconds, for the canary to answer enough requests
LONGER = 4  # times canary_requests: so long is a canary watched that errs more often, and not beyond doubt
SILENCE = 3  # looks in a row without an answer mean that the service is gone
OWN_CLIENTS = 4
OWN_REQUESTS = 400  # at most, in one turn
SPARE = 3.0  # standard deviations of how many requests chance gives the canary
INTERNAL_ERROR = 500
OVERLOADED = 503


def fault(new: Traffic, old: Traffic, limits: DeployParams) -> str | None:
    """Say what is wrong with the canary, with numbers, or None.

    Too many errors are more than `maximum_error_rate` allows and more than the old version makes in the same time, both
    by evidence that may be looked at each second: see sequential.py. A fault that both have is no reason to go back.
    Slow is a canary whose mean time and whose 95th percentile both exceed the old version's by the allowed ratio: the
    mean is exact, but one pause of the machine lifts it; the percentile is robust, but as coarse as the histogram's
    buckets.

    Args:
        new: the canary's traffic since it began.
        old: the stable version's in the same time.
        limits: what is allowed.
    """
    above = sequential.is_above(new.errors, new.requests, limits.maximum_error_rate)
    worse = sequential.is_worse(new.errors, new.requests, old.errors, old.requests)
    if min(above, worse) >= sequential.ENOUGH_EVIDENCE:
        return (
            f"{new.errors:.0f} errors in {new.requests:.0f} requests, allowed are {limits.maximum_error_rate:.2%}; "
            f"the old version made {old.errors:.0f} in {old.requests:.0f}"
        )
    if min(new.answered, old.answered) < min(ENOUGH, limits.canary_requests):
        return None
    allowed = limits.maximum_latency_ratio
    tail, usual = new.quantile(TAIL), old.quantile(TAIL)
    if new.mean > allowed * old.mean and tail > allowed * usual:
        return (
            f"it takes {new.mean * 1000:.2f} ms on average and {tail * 1000:.2f} ms at the 95th percentile, "
            f"the old version {old.mean * 1000:.2f} and {usual * 1000:.2f} ms; allowed is {allowed:g} times as much"
        )
    return None


def is_suspect(new: Traffic, old: Traffic, limits: DeployParams) -> bool:
    """Say whether the canary has failed more often than is allowed and than the old version, proved or not."""
    allowed = max(limits.maximum_error_rate, old.errors / max(old.requests, 1))
    return new.errors > allowed * new.requests


def allowed_of_own(old: Traffic, limits: DeployParams) -> float:
    """Return the rate at which a deployment's own requests may fail: the old version's where that is higher."""
    return max(limits.maximum_error_rate, min(old.errors / max(old.requests, 1), sequential.MOST))


@dataclass
class _OwnTraffic:
    """Requests sent in place of users who are not there."""

    platform: Platform
    environment: str
    bodies: list[bytes]
    keys: Sequence[bytes]
    sent: int = 0
    failed: int = 0
    turns: list[tuple[float, int]] = field(default_factory=list)  # when they ended, and how many were sent

    def not_counted_at(self, moment: float) -> int:
        """Return how many requests the figures of a moment cannot hold, all of them, yet."""
        return sum(sent for end, sent in self.turns if moment - end < self.platform.LATE_SECONDS)

    def send(self, number: int, seconds: float) -> None:
        """Send so many requests over a few connections, and stop when the time is over."""
        places = itertools.cycle(range(len(self.bodies)))
        turns = [[next(places) for _ in range(math.ceil(number / OWN_CLIENTS))] for _ in range(OWN_CLIENTS)]
        endpoint, before = self.platform.endpoint(self.environment), self.sent
        end = time.monotonic() + seconds

        def one_client(turn: list[int]) -> tuple[int, int]:
            sent = failed = 0
            with endpoint.connect() as client:
                for place in turn:
                    if time.monotonic() > end:
                        break
                    sent += 1
                    try:
                        status = post(client, self.bodies[place], self.keys).status
                        failed += status >= INTERNAL_ERROR and status != OVERLOADED
                    except SilentError:
                        failed += 1
            return sent, failed

        with ThreadPoolExecutor(OWN_CLIENTS) as pool:
            for sent, failed in pool.map(one_client, turns):
                self.sent += sent
                self.failed += failed
        self.turns.append((time.monotonic(), self.sent - before))


def watch(
    platform: Platform,
    environment: str,
    deployed: Deployment,
    rows: list[dict[str, Any]],
    keys: Sequence[bytes],
    limits: DeployParams,
    progress: Say,
) -> dict[str, Any]:
    """Watch a canary for `canary_seconds` and until it has answered `canary_requests`.

    When users send too few requests, it sends its own, with the examples in `rows`. Where the
    platform's figures come late, it waits for them, and does not send again what it has sent.

    Args:
        platform: where the environment is.
        environment: where the canary runs.
        deployed: the stable version and the canary.
        rows: good rows.
        keys: of both artifacts: either may get a request of its own.
        limits: the section `deploy` of params.yaml.
        progress: is told how far it is.

    Returns:
        The figures of both versions, how many requests were its own, and the highest rate of errors that the
        canary's answers leave possible.

    Raises:
        UnfitError: the canary errs, is slow, is refused or stops the service.
    """
    if deployed.canary is None:
        raise ValueError("there is no canary to watch")
    number, old_number = deployed.canary.version, deployed.stable.version
    own = _OwnTraffic(platform, environment, [encode_json(row) for row in rows], keys)
    before = platform.traffic(environment)
    between = max(TURN_SECONDS, platform.LATE_SECONDS / LOOKS)
    patience = limits.canary_seconds + PATIENCE_SECONDS + 2 * platform.LATE_SECONDS
    begin, silent = time.monotonic(), 0
    while True:
        turn = time.monotonic()
        elapsed = turn - begin
        try:
            now = platform.traffic(environment)
            silent = 0
        except ProjectError:
            silent += 1
            now = before
        new, old = (now.get(each, Traffic()).since(before.get(each, Traffic())) for each in (number, old_number))
        reason = (
            ("the service has stopped answering" if silent >= SILENCE else None)
            or fault(new, old, limits)
            or (
                f"{own.failed} of the {own.sent} requests that this deployment sent failed"
                if sequential.is_above(own.failed, own.sent, allowed_of_own(old, limits)) >= sequential.ENOUGH_EVIDENCE
                else None
            )
            or _problem(platform, environment)
            or (
                f"it answered only {new.requests:.0f} of {limits.canary_requests} requests in {elapsed:.0f} s"
                if elapsed > patience and new.requests < limits.canary_requests
                else None
            )
        )
        if reason:
            raise UnfitError(
                f"Version {number} failed as canary in {environment}: {reason}.",
                hint="The service's log and metrics say more. Correct it, register a new version and deploy that.",
            )
        wanted = limits.canary_requests * (LONGER if is_suspect(new, old, limits) else 1)
        progress(
            f"{environment}: canary {elapsed:.0f} s of {limits.canary_seconds:.0f}, {new.requests:.0f} requests "
            f"of at least {wanted}, {new.errors:.0f} errors"
        )
        if elapsed >= limits.canary_seconds and (new.requests >= wanted or elapsed > patience):
            return {
                "seconds": round(elapsed, 1),
                "own_requests": own.sent,
                "requests": int(new.requests),
                "errors": int(new.errors),
                "errors_before": int(old.errors),
                "requests_before": int(old.requests),
                "highest_error_rate": round(sequential.highest_rate(int(new.errors), int(new.requests)), 5),
                "mean_ms": round(new.mean * 1000, 3),
                "mean_ms_before": round(old.mean * 1000, 3),
            }
        due = wanted * min(1.0, (elapsed + between) / limits.canary_seconds)
        missing = _number(due - new.requests, deployed.share, late=bool(platform.LATE_SECONDS)) - own.not_counted_at(
            turn
        )
        if not silent and missing > 0:
            own.send(min(missing, OWN_REQUESTS), between)
        time.sleep(max(0.0, turn + between - time.monotonic()))


def _number(wanted: float, share: float, *, late: bool) -> int:
    """Return how many requests to send for so many of the canary's.

    Who answers is chance. Where figures come late, to send too few costs another wait: so there it is some more.
    """
    spare = SPARE * math.sqrt(max(wanted, 0)) if late else 0
    return math.ceil((wanted + spare) / share)


def _problem(platform: Platform, environment: str) -> str | None:
    status = platform.status(environment)
    return status.problem if status else None
