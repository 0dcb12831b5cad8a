"""The seam of problems: all that the loops, the artifact, the registry, the gate, the service and the verbs ask of one.

A problem type is an object of a class below `Problem`, registered as an entry point of the group `twoloops.problems`.
It is a pair: a kind of input (this class), and a kind of output (a module of `problems/outputs`).

Words that no room outside a problem looks into:

    records  what is learned from and predicted for, whatever it is: a data frame, a list of texts, of images.
             Only a problem takes them apart; for all others they have a length, `take` and `entities`.
    inputs   what a model reads: an array whose first axis is the records
    watched  columns of numbers, or of categories' codes, that tell what came in: captured, compared, explained

What stands here is the simplest form, in which a record is a JSON object: a new kind of input replaces what it
does otherwise.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twoloops.contracts.captures import REQUEST_ID
from twoloops.contracts.signature import Signature
from twoloops.contracts.watched import Watched
from twoloops.errors import ProjectError
from twoloops.problem import data as project
from twoloops.problem import metrics as measures
from twoloops.problem import model
from twoloops.storage import replacing

if TYPE_CHECKING:
    from pydantic import BaseModel

    from twoloops.artifact import ModelFile, Predictor, Scores
    from twoloops.contracts.serving import Schema
    from twoloops.inner_loop.measure import Metric
    from twoloops.params import DataParams, Params

Records = Any
Inputs = NDArray[Any]
Target = NDArray[Any]


@dataclass(frozen=True)
class Labels:
    """Labels that came since, and what tells to which answer each belongs.

    Attributes:
        records: with entity and target.
        values: the targets as they came, of [records].
        requests: the identifier of the request that was answered, shape [records]; None where the labels have none.
        times: the event times, UTC, shape [records], NaT where it is missing; None where the labels have none.
    """

    records: Records
    values: list[Any]
    requests: list[str | None] | None = None
    times: NDArray[np.datetime64] | None = None

    def newest(self, of: Problem) -> Labels:
        """Return the labels without those that a later one about the same answer corrects."""
        keys = [list(map(str, of.entities(self.records)))]
        keys += [] if self.requests is None else [list(map(str, self.requests))]
        keys += [] if self.times is None else [list(map(str, self.times))]
        last = {key: place for place, key in enumerate(zip(*keys, strict=True))}
        places = sorted(last.values())
        return Labels(
            of.take(self.records, places),
            [self.values[place] for place in places],
            None if self.requests is None else [self.requests[place] for place in places],
            None if self.times is None else self.times[places],
        )


def numbered(keys: Iterable[str]) -> list[str]:
    """Return for each key a name that tells who is the same, and not who that is: they are counted as they come."""
    places: dict[str, int] = {}
    return [f"entity-{places.setdefault(key, len(places)):06d}" for key in keys]


class Problem(ABC):
    """A problem type: a kind of input with a kind of output."""

    def __init__(self, name: str, outputs: ModuleType) -> None:
        """Keep the name by which projects choose it, and the module of `problems/outputs`."""
        self.name = name
        self.outputs = outputs

    # ---------------------------------------------------------------------- what goes in and out

    @abstractmethod
    def signature(self) -> Signature:
        """Return the signature of the current project's models, as its contract says.

        Raises:
            ProjectError: the contract does not make one.
        """

    def decision_threshold(self, classes: Sequence[Any]) -> float | None:
        """Return DECISION_THRESHOLD of problem/metrics.py, for the signature; None where the project has none.

        Raises:
            ProjectError: it is no probability, or there are not two classes.
        """
        threshold = getattr(measures, "DECISION_THRESHOLD", None)
        if threshold is None:
            return None
        if len(classes) != 2 or not 0 < threshold < 1:
            raise ProjectError(
                f"DECISION_THRESHOLD in problem/metrics.py is {threshold!r}, with {len(classes)} classes.",
                hint="It is a probability above 0 and below 1 of the last of two classes; delete it where the most "
                "probable class is predicted.",
            )
        return float(threshold)

    def read_signature(self, text: str) -> Signature:
        """Read the signature of an artifact."""
        return Signature.model_validate_json(text)

    def watched(self, signature: Signature) -> tuple[Watched, ...]:
        """Return the columns that are watched of the inputs."""
        return ()

    def watch(self, inputs: Inputs) -> NDArray[Any]:
        """Return what is watched of inputs, shape [records, watched]; by default the inputs themselves."""
        return inputs

    def restore(self, values: NDArray[Any]) -> Inputs | None:
        """Return the inputs of watched values, or None where these do not hold them: then none is scored again."""
        return values

    # ---------------------------------------------------------------------- records

    def load(self, source: str) -> Records:
        """Return the raw records, read by the project's own function."""
        return project.load(source)

    @abstractmethod
    def check(self, raw: Records, origin: str, *, labelled: bool = True) -> Records:
        """Return records that keep the project's contract.

        Args:
            raw: as `load` gave them.
            origin: where they come from, for the message.
            labelled: whether they have a target; else they are yet to be predicted.

        Raises:
            ProjectError: each broken rule, with examples.
        """

    def examine(self, records: Records, signature: Signature, params: DataParams) -> None:
        """Refuse records from which nothing honest can be learned: too old, or with the target in an input.

        Raises:
            ProjectError: the message names what is wrong.
        """
        return

    def labelled(self, records: Records) -> Records:
        """Return the records whose target is known."""
        return [record for record in records if record.get(project.TARGET) is not None]

    def split(self, records: Records, share: float, frozen: Any) -> Any:
        """Return training records, holdout and its identity, parted by the project's own function."""
        return project.split(records, share, frozen)

    def left_out(self, raw: Records) -> list[str]:
        """Return the names of the fields that the contract does not know."""
        return []

    def warnings(self, records: Records, signature: Signature) -> list[str]:
        """Return what is allowed, and may still not be what is meant, one sentence each."""
        return []

    def fields(self, signature: Signature) -> list[str] | None:
        """Return the names by which records can be cut into slices; None where nobody knows them beforehand."""
        return None

    def take(self, records: Records, places: Sequence[int]) -> Records:
        """Return those records that stand at these places."""
        return [records[place] for place in places]

    def entities(self, records: Records) -> NDArray[Any]:
        """Return whom each record is about, shape [records]."""
        return np.asarray([record[project.ENTITY] for record in records], dtype=object)

    def times(self, records: Records) -> NDArray[np.datetime64] | None:
        """Return when each record's values were known, UTC, shape [records]; None where records have no time."""
        if project.EVENT_TIME is None:
            return None
        texts = [str(record[project.EVENT_TIME]).replace("Z", "").replace("+00:00", "") for record in records]
        return np.asarray(texts, dtype="datetime64[us]")

    def version(self, records: Records) -> str:
        """Return a SHA-256 of the records, whatever file they lay in."""
        return hashlib.sha256(json.dumps(records, sort_keys=True, default=str).encode()).hexdigest()

    def write(self, records: Records, path: Path) -> None:
        """Write prepared records, atomically."""
        with replacing(path) as new:
            new.write_text("".join(json.dumps(record, default=str) + "\n" for record in records), encoding="utf-8")

    def write_raw(self, records: Records, path: Path) -> None:
        """Write raw records, in the form that `load` reads."""
        self.write(records, path)

    def append(self, older: Records, newer: Records, seed: int) -> Records:
        """Return raw records with simulated ones after them: their times follow, and they are about others.

        Args:
            older: that are there.
            newer: simulated, as of the same days.
            seed: of the newer ones; tells them apart.

        Raises:
            ProjectError: this kind of input does not grow.
        """
        raise ProjectError(f"A simulated source of {self.name} does not grow.", hint="Replace it, with --force.")

    def without_people(self, parts: Sequence[Records]) -> Records:
        """Return the records of all parts, with numbers in place of the entities' keys; what came first stays first.

        Nothing else of a record is looked into here: a kind of input with text or names in it replaces this.
        """
        records = [record for part in parts for record in part]
        numbers = numbered(str(record[project.ENTITY]) for record in records)
        return [{**record, project.ENTITY: number} for record, number in zip(records, numbers, strict=True)]

    def read(self, path: Path) -> Records:
        """Read prepared records."""
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def draft(self, source: str, ask: Any, *, overwrite: bool) -> Any:
        """Draft the owner's files from a real source, and write them.

        Args:
            source: a path or a URL.
            ask: answers what the source does not say.
            overwrite: whether files that somebody has edited are written too.

        Returns:
            What was drafted; `as_dict` tells it.

        Raises:
            ProjectError: this kind of input cannot be drafted.
        """
        raise ProjectError(f"A problem of {self.name} cannot be drafted.", hint="Write problem/data.py by hand.")

    # ---------------------------------------------------------------------- learning

    def target(self, records: Records, signature: Signature) -> Target:
        """Return the encoded target, shape [records]: class places (int64) or amounts (float64).

        Raises:
            ProjectError: a label is not allowed, or all are the same.
        """
        values = [record[signature.target] for record in records]
        return self.outputs.encode_target(values, signature.classes, signature.target)

    @abstractmethod
    def encode(self, records: Records, signature: Signature) -> Inputs:
        """Return what models read: the same function in training, scoring and service.

        Raises:
            ProjectError: a record lacks what the signature names.
        """

    def learn(self, params: Params, section: BaseModel, inputs: Inputs, target: Target, signature: Signature) -> Any:
        """Build the project's estimator and fit it.

        Args:
            params: for the seed and the number of threads.
            section: the section `model` of params.yaml, or a candidate for it.
            inputs: what it reads.
            target: the encoded target, shape [records].
            signature: names what goes in.
        """
        return model.build(section, signature, params.seed).fit(inputs, target)

    def answer(self, estimator: Any, inputs: Inputs, signature: Signature) -> Scores:
        """Return what a fitted estimator answers, float64, shape [records, outputs]."""
        return self.outputs.scores(estimator, inputs)

    def export(self, estimator: Any, signature: Signature) -> ModelFile:
        """Return the fitted estimator in the form in which it is shipped."""
        return model.export(estimator, signature)

    def baseline(self, inputs: Inputs, target: Target, signature: Signature) -> Any:
        """Return the project's simple model, fitted."""
        return measures.baseline(signature).fit(inputs, target)

    def predictions(self, scores: Scores, signature: Signature) -> dict[str, NDArray[Any]]:
        """Return scores as named columns, each of shape [records]: `prediction` first."""
        return self.outputs.predictions(scores, signature.classes, signature.decision_threshold)

    # ---------------------------------------------------------------------- judging

    def slices(self, records: Records, fields: Sequence[str], minimum: int) -> dict[str, NDArray[np.int64]]:
        """Return the places of each slice `field=value` that has at least `minimum` records."""
        found = {}
        for name in fields:
            values = ["(missing)" if record.get(name) is None else str(record[name]) for record in records]
            for value in sorted(set(values)):
                places = np.flatnonzero(np.asarray(values, dtype=object) == value)
                if len(places) >= minimum:
                    found[f"{name}={value}"] = places
        return found

    def one_by_one(self, records: Records, number: int, signature: Signature) -> list[Records]:
        """Return the first records, each alone, to time single answers."""
        return [self.take(records, [place]) for place in range(min(number, len(records)))]

    def importance(
        self, predictor: Predictor, records: Records, target: Target, metric: Metric, seed: int
    ) -> list[dict[str, Any]]:
        """Return what each input brings and costs, best first, as rows with `name` and `importance`."""
        return []

    def card(self, verdict: Mapping[str, Any], signature: Signature) -> list[str]:
        """Return the lines of the model card that tell what goes in."""
        return []

    def draw(self, folder: Path, target: Target, scores: Scores, signature: Signature) -> None:
        """Draw the pictures of a verdict into a folder."""
        self.outputs.draw(folder, target, scores, signature.classes)

    # ---------------------------------------------------------------------- using

    def labels(self, source: str) -> Labels:
        """Return labels that came since.

        Raises:
            ProjectError: they cannot be read, or break the contract.
        """
        records = self.labelled(self.load(source))
        told = [record for record in records if project.EVENT_TIME is None or project.EVENT_TIME in record]
        times = self.times(records) if len(told) == len(records) else None
        requests = [record.get(REQUEST_ID) for record in records]
        values = [record[project.TARGET] for record in records]
        return Labels(records, values, requests if any(requests) else None, times).newest(self)

    def read_times(self, texts: Sequence[str | None]) -> NDArray[np.datetime64]:
        """Return times as requests told them, UTC, shape [texts]; NaT where there is none or it cannot be read."""
        known: dict[str | None, Any] = {None: None}
        for text in set(texts) - {None}:
            try:
                moment = datetime.fromisoformat(str(text))
                known[text] = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
            except ValueError:
                known[text] = None
        return np.asarray([known[text] for text in texts], dtype="datetime64[us]")

    def write_predictions(self, records: Records, columns: Mapping[str, Any], target: Path) -> None:
        """Write predictions beside the keys of their records; a text in place of a column stands for all."""
        keys = [name for name in (project.ENTITY, project.EVENT_TIME) if name is not None]
        rows = (
            {key: record[key] for key in keys}
            | {name: values if isinstance(values, str) else _plain(values[place]) for name, values in columns.items()}
            for place, record in enumerate(records)
        )
        with replacing(target) as new:
            new.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows), encoding="utf-8")

    def keys(self, raw: Records) -> dict[str, Sequence[Any]]:
        """Return the entity and the event time of raw records, as far as they have them, by name."""
        keys = [name for name in (project.ENTITY, project.EVENT_TIME) if name is not None]
        return {key: [record[key] for record in raw] for key in keys if all(key in record for record in raw)}

    def write_rows(self, rows: Sequence[Mapping[str, Any]], target: Path) -> None:
        """Write plain rows for people, atomically."""
        with replacing(target) as new:
            new.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows), encoding="utf-8")

    def explain(self, predictor: Predictor, source: str, row: int, entity: str | None) -> dict[str, Any]:
        """Follow one record through a model: `entity`, `features`, `scores`, `explained`, `prediction`, `model`.

        Raises:
            ProjectError: there is no such record, or this kind of input cannot be explained.
        """
        raise ProjectError(f"A model of {self.name} cannot be explained yet.", hint="'predict' shows what it answers.")

    # ---------------------------------------------------------------------- serving

    @abstractmethod
    def schema(self, signature: Signature, maximum_rows: int) -> Schema:
        """Return what reads and checks requests of the service."""

    def requests(self, records: Records, signature: Signature) -> list[dict[str, Any]]:
        """Return raw records as the service is asked about them: JSON objects."""
        return [dict(record) for record in records]

    def from_requests(self, requests: Sequence[Mapping[str, Any]]) -> Records:
        """Return good requests as records, for `Predictor.predict`."""
        return list(requests)

    @abstractmethod
    def draw_requests(
        self, reference: Mapping[str, Any], signature: Signature, rows: int, seed: int
    ) -> list[dict[str, Any]]:
        """Draw requests such as the training data had, from its statistics alone: nobody's record is shown."""

    def bad_requests(self, signature: Signature, good: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
        """Yield what must be refused: its kind in words, the content, and the name to be told in the refusal."""
        yield "an unknown field", {**good, "that_is_not_in_the_contract": 1}, "that_is_not_in_the_contract"

    def other_requests(self, signature: Signature, good: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Yield good requests in the words of other protocols, each with its route ({name} is the model's)."""
        yield "/invocations", {"dataframe_records": list(good)}

    # ---------------------------------------------------------------------- scoring tables of any size

    def batches(self, signature: Signature) -> Any:
        """Return what checks and encodes Arrow batches: `contracts.scoring.Batches`.

        Raises:
            ProjectError: this kind of input is not scored in batches.
        """
        raise ProjectError(f"Tables of {self.name} cannot be scored in batches.", hint="Take the verb 'predict'.")


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
