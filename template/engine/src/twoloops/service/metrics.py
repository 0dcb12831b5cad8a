"""What Prometheus reads: rate, errors, time, and what the models answer."""

from __future__ import annotations

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from twoloops.artifact import Scores
from twoloops.service.models import Deployed, Model

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SHARES: Final = tuple(place / 20 for place in range(1, 21))  # upper bounds of buckets of probabilities
MOST_WAITING: Final = 1000  # requests, or rows, that are counted at once


class Metrics:
    """The service's metrics, in a registry of their own."""

    def __init__(self, pending: Callable[[], int]) -> None:
        """Declare all metrics.

        Args:
            pending: tells how many requests wait for their answer.
        """
        self.registry = CollectorRegistry()
        self._model_errors = self._counter(
            "service_model_errors",
            "Requests in which a model raised or gave a number that is not finite.",
            "model_version",
        )
        self._info = self._gauge(
            "service_model_info", "The models that answer now.", "model_version", "identity", "role"
        )
        self._registered = self._gauge(
            "service_model_registered_timestamp_seconds", "When the model was registered.", "model_version"
        )
        self.captured = self._counter(
            "service_captured_rows", "Rows for the monitor, by what became of them.", "outcome"
        )
        self.refused = self._counter("service_refused_rows", "Rows of requests that broke the contract.")
        self.swap_failures = self._counter("service_swap_failures", "Deployments that were refused.")
        self._gauge("service_pending_requests", "Requests that wait for their answer.").set_function(pending)
        for outcome in ("kept", "dropped", "lost"):
            self.captured.labels(outcome)
        self._traffic = _Traffic()
        self.registry.register(self._traffic)
        self.request = self._traffic.request
        self.answer = self._traffic.answer

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def model_error(self, model: Model) -> None:
        """Count a request that a model could not answer."""
        self._model_errors.labels(model.version).inc()

    def show_deployed(self, deployed: Deployed) -> None:
        """Tell which models answer now."""
        self._info.clear()
        self._registered.clear()
        for role, model in (("stable", deployed.stable), ("canary", deployed.canary)):
            if model:
                self._info.labels(model.version, model.identity, role).set(1)
                self._model_errors.labels(model.version)
                if model.registered_at:
                    moment = datetime.fromisoformat(model.registered_at).timestamp()
                    self._registered.labels(model.version).set(moment)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Histogram:
    """Counts of values, by bucket."""

    def __init__(self, bounds: ArrayLike) -> None:
        self.bounds = np.asarray(bounds, dtype=np.float64)
        self.counts = np.zeros(len(self.bounds) + 1, dtype=np.int64)
        self.sum = 0.0

    def add(self, values: ArrayLike) -> None:
        found = np.asarray(values, dtype=np.float64)
        # A bucket holds what is at most its bound; the last one, everything above.
        self.counts += np.bincount(np.searchsorted(self.bounds, found, side="left"), minlength=len(self.counts))
        self.sum += float(found.sum())

    def buckets(self) -> list[tuple[str, float]]:
        bounds: Iterable[str] = (*(str(bound) for bound in self.bounds.tolist()), "+Inf")
        return list(zip(bounds, np.cumsum(self.counts).tolist(), strict=True))


class _Traffic(Collector):
    """What happens with every request.

    It is noted, and counted many at a time: the client library's own counters would take more time
    for each request than the validation of its row.
    """

    def __init__(self) -> None:
        self._noted_requests: list[tuple[str, int, float]] = []
        self._noted_answers: list[tuple[Model, float, Scores, NDArray[Any]]] = []
        self._noted_rows = 0
        self._requests: Tally[tuple[str, ...]] = Tally()
        self._rows: Tally[tuple[str, ...]] = Tally()
        self._predictions: Tally[tuple[str, ...]] = Tally()
        self._request_seconds: dict[tuple[str, ...], _Histogram] = defaultdict(lambda: _Histogram(SECONDS))
        self._model_seconds: dict[tuple[str, ...], _Histogram] = defaultdict(lambda: _Histogram(SECONDS))
        self._scores: dict[tuple[str, ...], _Histogram] = {}

    def request(self, route: str, code: int, seconds: float) -> None:
        """Note one request."""
        self._noted_requests.append((route, code, seconds))
        if len(self._noted_requests) >= MOST_WAITING:
            self._count()

    def answer(self, model: Model, seconds: float, scores: Scores, predictions: NDArray[Any]) -> None:
        """Note what a model answered to one request.

        Args:
            model: that answered.
            seconds: that its inference took.
            scores: shape [rows, outputs].
            predictions: shape [rows].
        """
        self._noted_answers.append((model, seconds, scores, predictions))
        self._noted_rows += len(scores)
        if self._noted_rows >= MOST_WAITING:
            self._count()

    def _count(self) -> None:
        requests, self._noted_requests = self._noted_requests, []
        answers, self._noted_answers, self._noted_rows = self._noted_answers, [], 0
        self._requests.update((route, str(code)) for route, code, _ in requests)
        for route in {each[0] for each in requests}:
            self._request_seconds[route,].add([each[2] for each in requests if each[0] == route])
        for model in {each[0] for each in answers}:
            mine = [each for each in answers if each[0] is model]
            scores = np.concatenate([each[2] for each in mine])
            self._rows[model.version,] += len(scores)
            self._model_seconds[model.version,].add([each[1] for each in mine])
            for place, output in enumerate(model.outputs):
                key = (model.version, output)
                if key not in self._scores:
                    self._scores[key] = _Histogram(_bounds(model, output))
                self._scores[key].add(scores[:, place])
            if model.predictor.signature.classes:
                values, numbers = np.unique(np.concatenate([each[3] for each in mine]), return_counts=True)
                for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
                    self._predictions[model.version, str(value)] += number

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        self._count()
        version = "model_version"
        yield _counts("service_requests", "Requests answered.", ("route", "code"), self._requests)
        yield _counts("service_rows", "Rows answered.", (version,), self._rows)
        text = "Rows by the class that was predicted."
        yield _counts("service_predictions", text, (version, "prediction"), self._predictions)
        text = "From a request's head to its answer."
        yield _distribution("service_request_seconds", text, ("route",), self._request_seconds)
        yield _distribution("service_model_seconds", "Inference of one request.", (version,), self._model_seconds)
        text = "The models' scores, by class or target."
        yield _distribution("service_score", text, (version, "output"), self._scores)

    def describe(self) -> list[Metric]:
        """Return nothing: the names above are this collector's alone."""
        return []


def _counts(name: str, text: str, labels: tuple[str, ...], counted: Tally[tuple[str, ...]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, number in counted.items():
        family.add_metric(key, number)
    return family


def _distribution(name: str, text: str, labels: tuple[str, ...], found: dict[tuple[str, ...], _Histogram]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for key, histogram in found.items():
        family.add_metric(key, histogram.buckets(), histogram.sum)
    return family


def _bounds(model: Model, output: str) -> list[float]:
    """Return the upper bounds of a score's buckets: for amounts, the quantiles of the training time."""
    if model.predictor.signature.classes:
        return list(SHARES)
    edges = model.predictor.reference.get("scores", {}).get(output, {}).get("edges", [])
    return sorted({float(f"{edge:.6g}") for edge in edges})
