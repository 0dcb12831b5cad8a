"""The smallest problem: a record is {"id": text, "value": number, "label": 0 or 1}; all else is inherited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from twoloops.contracts.scoring import Broken, Checked
from twoloops.contracts.serving import RefusedError
from twoloops.contracts.signature import Signature
from twoloops.contracts.watched import Watched
from twoloops.errors import ProjectError
from twoloops.problems.base import Problem, Records
from twoloops.problems.outputs import classes


class Schema:
    """Requests are records without their label."""

    def from_json(self, body: bytes) -> Sequence[Any]:
        try:
            return self.from_objects(msgspec.json.decode(body))
        except msgspec.DecodeError as error:
            raise RefusedError(400, f"The body is not JSON: {error}.") from error

    def from_objects(self, objects: Any) -> Sequence[Any]:
        rows = objects if isinstance(objects, list) else [objects]
        for place, row in enumerate(rows):
            if not isinstance(row, dict) or not isinstance(row.get("value"), int | float) or set(row) - {"id", "value"}:
                wrong = next(iter(set(row) - {"id", "value"}), "value") if isinstance(row, dict) else "value"
                raise RefusedError(422, f"Row {place} breaks the contract: {wrong}.")
        if not rows:
            raise RefusedError(422, "The request holds no rows.")
        return rows

    def from_wrapped(self, body: bytes) -> Sequence[Any]:
        return self.from_objects(msgspec.json.decode(body)["dataframe_records"])

    def encode(self, records: Sequence[Any]) -> tuple[Any, list[str | None]]:
        return np.asarray([[row["value"]] for row in records], np.float32), [row.get("id") for row in records]

    def event_times(self, records: Sequence[Any]) -> list[str | None]:
        return [None] * len(records)

    def example(self, reference: Mapping[str, Any]) -> dict[str, Any]:
        return {"value": 0.5}

    def tensor_inputs(self) -> list[dict[str, Any]]:
        return []

    def tensors(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        return []

    def openapi(self) -> dict[str, Any]:
        return {"type": "object"}


class Batches:
    """Batches are tables with the columns id and value."""

    version, categorical = 1, list[str]()

    def __init__(self, signature: Signature) -> None:
        self.signature = signature

    def refuse_schema(self, schema: pa.Schema, file: str) -> None:
        if "value" not in schema.names:
            raise ProjectError(f"{file} has no column 'value'.")

    def check(self, batch: pa.RecordBatch) -> Checked:
        values = batch.column("value").to_numpy(zero_copy_only=False).astype(np.float32)
        return Checked(values.reshape(-1, 1), None, [Broken("value is missing", np.isnan(values))])


class Fake(Problem):
    """One number, of which a class is told."""

    def signature(self) -> Signature:
        return Signature(task=self.name, entity="id", event_time=None, target="label", classes=(0, 1))

    def watched(self, signature: Signature) -> tuple[Watched, ...]:
        return (Watched("value"),)

    def check(self, raw: Records, origin: str, *, labelled: bool = True) -> Records:
        if broken := [record for record in raw if not isinstance(record.get("value"), int | float)]:
            raise ProjectError(f"{origin} breaks the data contract: value: {broken[0].get('value')!r}.")
        return raw

    def encode(self, records: Records, signature: Signature) -> Any:
        return np.asarray([[record["value"]] for record in records], dtype=np.float32)

    def schema(self, signature: Signature, maximum_rows: int) -> Any:
        return Schema()

    def draw_requests(
        self, reference: Mapping[str, Any], signature: Signature, rows: int, seed: int
    ) -> list[dict[str, Any]]:
        edges = reference["features"]["value"]["edges"]
        return [{"value": float(value)} for value in np.random.default_rng(seed).choice(edges, rows)]

    def bad_requests(self, signature: Signature, good: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
        yield "text in place of a number", {"value": "many"}, "value"

    def batches(self, signature: Signature) -> Batches:
        return Batches(signature)


fake = Fake("fake", classes)
