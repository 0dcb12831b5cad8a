"""The contract at work on Arrow batches: which rows may be scored, and why the others may not.

It is derived from the model's signature alone, so it is the contract that the model was trained
under, and scoring needs neither pandas nor Pandera.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from twoloops.contracts.scoring import Broken, Checked, Mask
from twoloops.contracts.watched import MISSING, UNKNOWN
from twoloops.errors import ProjectError
from twoloops.problems.tabular.encoding import encode
from twoloops.problems.tabular.signature import Feature, Signature

# Counts up when the rules below change: what was scored under older rules is then scored again.
RULES_VERSION: Final = 1


def refuse_schema(schema: pa.Schema, signature: Signature, file: str) -> None:
    """Raise when no row of a file can keep the contract.

    Columns that the signature does not know are no fault: they are not looked at.

    Raises:
        ProjectError: columns are missing, or are of a type that cannot be read as what is needed.
    """
    needed = [signature.entity, *([signature.event_time] if signature.event_time else []), *signature.names]
    missing = [name for name in needed if name not in schema.names]
    if missing:
        raise ProjectError(
            f"{file} has no column {', '.join(map(repr, missing))}, which the model needs.",
            hint=f"It has: {', '.join(schema.names)}.",
        )
    for name in needed:
        if schema.names.count(name) > 1:
            raise ProjectError(f"{file} has the column {name!r} more than once.", hint="Name each column once.")
        found = schema.field(name).type
        kind, fits = "a plain value", not types.is_nested(found)
        if name in signature.numeric:
            kind, fits = "a number", _can_be_number(found)
        elif name == signature.event_time:
            kind, fits = "a time", _can_be_time(found)
        if not fits:
            raise ProjectError(
                f"The column {name!r} of {file} is of type {found}; {kind} is needed.",
                hint="Correct what writes the file; the contract in problem/data.py says what each column holds.",
            )


def _is_text(kind: pa.DataType) -> bool:
    return types.is_string(kind) or types.is_large_string(kind)


def _can_be_number(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        return _can_be_number(kind.value_type)
    checks = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null, _is_text)
    return any(fits(kind) for fits in checks)


def _can_be_time(kind: pa.DataType) -> bool:
    return types.is_timestamp(kind) or types.is_date(kind) or _is_text(kind)


def check(batch: pa.RecordBatch, signature: Signature) -> Checked:
    """Encode a batch and find the rows that break the contract.

    A missing value is null, or NaN in a column of floats. Text is read as a number or a time where
    one is needed, as in training.

    Args:
        batch: has the signature's columns, of types that `refuse_schema` lets pass.
        signature: of the model that shall score.
    """
    columns, unread = {}, {}
    for feature in signature.features:
        read = _numbers if feature.kind == "number" else _categories
        columns[feature.name], unread[feature.name] = read(batch.column(feature.name), feature)
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, and is found below
        matrix = encode(columns, signature.features)

    broken: list[Broken] = []
    for place, feature in enumerate(signature.features):
        name, raw, encoded = feature.name, batch.column(feature.name), matrix[:, place]
        if feature.kind == "number":
            values = columns[name]
            missing, infinite = np.isnan(encoded), np.isinf(encoded)
            broken.append(Broken(f"{name} is not a number", unread[name], raw))
            broken.append(Broken(f"{name} is not finite", infinite, raw))
            if feature.minimum is not None:
                broken.append(
                    Broken(f"{name} is below {feature.minimum:g}", (values < feature.minimum) & ~infinite, raw)
                )
            if feature.maximum is not None:
                broken.append(
                    Broken(f"{name} is above {feature.maximum:g}", (values > feature.maximum) & ~infinite, raw)
                )
        else:
            missing = encoded == MISSING
            broken.append(Broken(f"{name} is not a known value", (encoded == UNKNOWN) | unread[name], raw))
        if not feature.nullable:
            broken.append(Broken(f"{name} is missing", missing & ~unread[name]))

    broken.append(Broken(f"{signature.entity} is missing", _nulls(batch.column(signature.entity))))
    event_time = None
    if signature.event_time is not None:
        raw = batch.column(signature.event_time)
        event_time, unread_times = _times(raw)
        broken.append(Broken(f"{signature.event_time} is not a time", unread_times, raw))
        broken.append(Broken(f"{signature.event_time} is missing", _nulls(raw)))
    return Checked(matrix, event_time, [each for each in broken if each.rows.any()])


def _nulls(column: pa.Array) -> Mask:
    return np.asarray(column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False))


def _numbers(column: pa.Array, feature: Feature) -> tuple[NDArray[Any], Mask]:
    """Return numbers with NaN for what is missing or no number, and which are the latter."""
    unread = np.zeros(len(column), dtype=np.bool_)
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_text(column.type):
        column, unread = _parsed(column, float, pa.float64())
    elif not (types.is_floating(column.type) or types.is_integer(column.type)):
        column = column.cast(pa.float64())
    return column.to_numpy(zero_copy_only=False), unread


def _categories(column: pa.Array, feature: Feature) -> tuple[pa.Array, Mask]:
    """Return categories, of the type of the feature's, and which could not be read as such."""
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if not _is_text(kind) or any(isinstance(value, str) for value in feature.categories):
        return column, np.zeros(len(column), dtype=np.bool_)
    # Numbers or truth values as text, as in CSV: Python and JSON write true differently.
    known = {str(value): value for value in feature.categories}
    known |= {json.dumps(value): value for value in feature.categories}

    def parse(text: str) -> object:
        if text not in known:
            raise ValueError(text)
        return known[text]

    return _parsed(column, parse, None)


def _times(column: pa.Array) -> tuple[pa.Array, Mask]:
    """Return times, null for what is missing or no time, and which are the latter."""
    if not _is_text(column.type):
        return column, np.zeros(len(column), dtype=np.bool_)

    def parse(text: str) -> datetime:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    return _parsed(column, parse, pa.timestamp("us", "UTC"))


def _parsed(column: pa.Array, parse: Callable[[str], object], kind: pa.DataType | None) -> tuple[pa.Array, Mask]:
    """Parse text, each different one once, and say which raised ValueError: these become null."""
    encoded = column.dictionary_encode()
    values, failed = [], []
    for text in encoded.dictionary.to_pylist():
        try:
            values.append(parse(text))
            failed.append(False)
        except ValueError:
            values.append(None)
            failed.append(True)
    unread = pa.array(failed, pa.bool_()).take(encoded.indices).fill_null(False)
    return pa.array(values, kind).take(encoded.indices), unread.to_numpy(zero_copy_only=False)


class TableBatches:
    """Checks and encodes Arrow batches: `contracts.scoring.Batches` for tables."""

    version = RULES_VERSION

    def __init__(self, signature: Signature) -> None:
        """Keep what the model needs."""
        self.signature = signature
        self.categorical = signature.categorical

    def refuse_schema(self, schema: pa.Schema, file: str) -> None:
        """Raise a ProjectError when no row of a file can keep the contract: see `refuse_schema`."""
        refuse_schema(schema, self.signature, file)

    def check(self, batch: pa.RecordBatch) -> Checked:
        """Encode a batch and find the rows that break the contract: see `check`."""
        return check(batch, self.signature)
