"""What a version must show in an environment before users meet it: smoke, contract and load tests.

They speak with the running service over HTTP, wherever it runs, and know nothing of the platform.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from twoloops import config, registry
from twoloops.artifact import Predictor
from twoloops.contracts.captures import new_trial
from twoloops.contracts.client import JSON, Answer, Client, Endpoint, SilentError
from twoloops.contracts.release import Release, UnfitError
from twoloops.errors import ProjectError

ROWS = 200  # examples, drawn once for a deployment from what the artifact holds: no data is needed, nobody is shown
SEED = 0
SMOKE_ROWS = 20
ROUTES = ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/ping", "/v2", "/v2/health/live",
          "/v2/health/ready", "/v2/models/{name}", "/v2/models/{name}/ready")  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A version to be tried: how it answers, and rows to ask it about."""

    release: Release
    predictor: Predictor
    rows: list[dict[str, Any]]

    @property
    def keys(self) -> list[bytes]:
        """By these its service knows the requests of a trial."""
        return [self.predictor.trial_key]


@contextmanager
def load_candidate(release: Release) -> Iterator[Candidate]:
    """Load a version from the registry, and draw rows such as it was trained on.

    Raises:
        UnfitError: its artifact cannot be loaded.
        ProjectError: it cannot be had, or the registry holds another one.
    """
    with registry.download(release.uri, release.identity) as folder:
        try:
            predictor = Predictor.load(folder)
        except ProjectError as error:
            raise UnfitError(f"Version {release.version} cannot be loaded: {error}", hint=error.hint) from error
        rows = predictor.problem.draw_requests(predictor.reference, predictor.signature, ROWS, SEED)
        yield Candidate(release, predictor, rows)


def encode_json(content: Any) -> bytes:
    """Return `content` as the bytes of a JSON document."""
    return json.dumps(content).encode()


def post(client: Client, content: bytes, keys: Iterable[bytes], path: str = "/predict", kind: str = JSON) -> Answer:
    """Send one request of a trial, marked as such.

    Args:
        client: the connection.
        content: the body.
        keys: of the artifacts, one of which answers.
        path: the route.
        kind: the body's content type.
    """
    return client.send("POST", path, content, kind, X_Request_ID=new_trial(keys))


def smoke(endpoint: Endpoint, candidate: Candidate, tolerance: float) -> str:
    """Demand that the service is ready, runs this artifact, and answers as the artifact itself does.

    Where only predictions can be asked for, the answers tell: they name the version.

    Args:
        endpoint: the service.
        candidate: what must run there.
        tolerance: the largest difference of a number, relative to its size or 1.

    Returns:
        What was seen, in words.

    Raises:
        UnfitError: anything else was seen.
    """
    release = candidate.release
    with endpoint.connect() as client:
        if endpoint.reaches("/health/ready"):
            ready = client.send("GET", "/health/ready")
            runs = ready.json().get("stable") or {}
            if ready.status != 200 or runs.get("identity") != release.identity:
                raise _unfit(release, f"/health/ready answers {_describe(ready)}")
        rows = candidate.rows[:SMOKE_ROWS]
        answer = post(client, encode_json(rows), candidate.keys)
        if answer.status != 200:
            raise _unfit(release, f"/predict answers good rows with {_describe(answer)}")
        content = answer.json()
        if content["model_version"] != release.version:
            raise _unfit(release, f"another version answers: {content['model_version']}")
        predictions = content["predictions"]
    expected = candidate.predictor.predict(candidate.predictor.problem.from_requests(rows))
    for name, values in expected.items():
        _equal(release, name, values.tolist(), [each.get(name) for each in predictions], tolerance)
    return f"{len(rows)} answers equal the artifact's own"


def _equal(release: Release, name: str, expected: list[Any], found: list[Any], tolerance: float) -> None:
    for row, (own, served) in enumerate(zip(expected, found, strict=True)):
        number = isinstance(own, float) and isinstance(served, int | float)
        same = abs(own - served) <= tolerance * max(1.0, abs(own)) if number else own == served
        if not same:  # of two that are not numbers neither is equal
            raise _unfit(release, f"row {row}: {name} is {served!r}, and the artifact itself says {own!r}")


def contract(endpoint: Endpoint, candidate: Candidate) -> str:
    """Demand that every kind of bad input is refused by name, and that every route that can be reached answers.

    Returns:
        What was seen, in words.

    Raises:
        UnfitError: bad input was taken or broke the service, or a route does not answer.
    """
    release, row = candidate.release, _complete(candidate)
    routes = [
        path for path in (route.format(name=config.current().package) for route in ROUTES) if endpoint.reaches(path)
    ]
    others = candidate.predictor.problem.other_requests(candidate.predictor.signature, candidate.rows[:2])
    named = ((path.format(name=config.current().package), content) for path, content in others)
    protocols = [(path, content) for path, content in named if endpoint.reaches(path)]
    refused = 0
    with endpoint.connect() as client:
        for route in routes:
            answer = client.send("GET", route)
            if answer.status != 200:
                raise _unfit(release, f"GET {route} answers {_describe(answer)}")
        for path, content in protocols:
            answer = post(client, encode_json(content), candidate.keys, path)
            if answer.status != 200:
                raise _unfit(release, f"POST {path} answers good rows with {_describe(answer)}")
        for what, content, kind, told in bad_inputs(candidate, row):
            answer = post(client, content, candidate.keys, kind=kind)
            if not 400 <= answer.status < 500 or told not in answer.content.decode(errors="replace"):
                demand = f"a refusal (4xx) that names {told!r}" if told else "a refusal (4xx)"
                raise _unfit(release, f"{what}: /predict answers {_describe(answer)}, not with {demand}")
            refused += 1
        answer = post(client, encode_json(row), candidate.keys)
        if answer.status != 200:
            raise _unfit(release, f"after bad input a good row is answered with {_describe(answer)}")
    answered = len(routes) + len(protocols)
    return f"{refused} kinds of bad input refused, {answered} {'route answers' if answered == 1 else 'routes answer'}"


def _complete(candidate: Candidate) -> dict[str, Any]:
    """Return the row with the fewest missing values."""
    return min(candidate.rows, key=lambda row: sum(value is None for value in row.values()))


def bad_inputs(candidate: Candidate, row: dict[str, Any]) -> Iterator[tuple[str, bytes, str, str]]:
    """Yield what must be refused: its kind in words, the body, its content type, and the name to be told.

    Args:
        candidate: the model.
        row: one that is good.
    """
    plain = "application/json"
    predictor = candidate.predictor
    for what, content, name in predictor.problem.bad_requests(predictor.signature, row):
        yield what, encode_json(content), plain, name
        yield f"{what}, in the second of two rows", encode_json([row, content]), plain, name
    yield "NaN", encode_json(row | {next(iter(row)): float("nan")}), plain, ""
    yield "malformed JSON", encode_json(row)[:-2], plain, ""
    yield "an empty body", b"", plain, ""
    yield "no rows", b"[]", plain, ""
    yield "a number in place of rows", b"1", plain, ""
    yield "another content type", encode_json(row), "text/plain", ""


@dataclass(frozen=True)
class Load:
    """How a service bore load, seen from its client."""

    requests: int
    errors: int  # any status but 200, or none
    seconds: float
    median_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def error_rate(self) -> float:
        """Errors among the requests."""
        return self.errors / max(1, self.requests)

    def __str__(self) -> str:
        """Tell the figures."""
        return (
            f"{self.requests:,} requests, {self.per_second:,.0f} a second, median {self.median_ms:.1f} ms, "
            f"p99 {self.p99_ms:.1f} ms, {self.errors} errors"
        )


def load(endpoint: Endpoint, candidate: Candidate, seconds: float, connections: int) -> Load:
    """Send single rows over several connections at once, each its next one as soon as it has an answer.

    Args:
        endpoint: the service.
        candidate: what runs there; its rows are sent in turn.
        seconds: how long.
        connections: how many clients.

    Raises:
        ProjectError: requests may not be sent at all; that says nothing about the service.
    """
    bodies = [encode_json(row) for row in candidate.rows]
    times: list[float] = []
    errors: list[str] = []
    end = time.perf_counter() + seconds

    def one_client(number: int) -> None:
        with endpoint.connect() as client:
            place = number
            while (begin := time.perf_counter()) < end:
                try:
                    answer = post(client, bodies[place % len(bodies)], candidate.keys)
                    if answer.status != 200:
                        errors.append(_describe(answer))
                except SilentError as error:
                    errors.append(str(error))
                times.append(time.perf_counter() - begin)
                place += connections

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(one_client, range(connections)))
    median, p99 = np.quantile(times, [0.5, 0.99]) * 1000
    return Load(len(times), len(errors), seconds, float(median), float(p99))


def _describe(answer: Answer) -> str:
    return f"{answer.status} {answer.content[:300].decode(errors='replace')}"


def _unfit(release: Release, what: str) -> UnfitError:
    return UnfitError(
        f"Version {release.version} does not pass: {what}.",
        hint="The service's log says more. Correct the model or the service, register a new version and deploy it.",
    )
