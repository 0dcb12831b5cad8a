"""The contract at work on Arrow batches: which rows may be scored, and why the others may not.

It is derived from the model's signature alone, so it is the contract that the model was trained
under, and scoring needs neither pandas nor Pandera.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from twoloops.contracts.scoring import Broken, Checked, Mask
from twoloops.errors import ProjectError
from twoloops.problems.tabular import columns, reading
from twoloops.problems.tabular.encoding import encode
from twoloops.problems.tabular.signature import Feature, Signature

# Counts up when the rules below change: what was scored under older rules is then scored again.
RULES_VERSION: Final = 2


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
    for name, column in reading.of_signature(signature).items():
        if schema.names.count(name) > 1:
            raise ProjectError(f"{file} has the column {name!r} more than once.", hint="Name each column once.")
        found = schema.field(name).type
        if not columns.fits(found, column):
            wanted = reading.NOUNS[column.kind] if column.kind != "category" else "a plain value"
            raise ProjectError(
                f"The column {name!r} of {file} is of type {found}; {wanted} is needed.",
                hint="Correct what writes the file; the contract in problem/data.py says what each column holds. "
                + reading.explain([column.kind]),
            )


def check(batch: pa.RecordBatch, signature: Signature) -> Checked:
    """Encode a batch and find the rows that break the contract.

    Values are read by the rules of reading.py, as in training and in the service.

    Args:
        batch: has the signature's columns, of types that `refuse_schema` lets pass.
        signature: of the model that shall score.
    """
    demanded = reading.of_signature(signature)
    read = {name: columns.read(batch.column(name), column) for name, column in demanded.items()}
    values = {name: each.values for name, each in read.items()}
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, and is found below
        matrix = encode(
            {
                each.name: _numbers(values[each.name]) if each.kind == "number" else values[each.name]
                for each in signature.features
            },
            signature.features,
        )
    broken: list[Broken] = []
    for place, feature in enumerate(signature.features):
        name, found = feature.name, read[feature.name]
        broken.append(Broken(f"{name} is not {_noun(feature)}", found.unread, found.raw))
        if feature.kind == "number":
            broken += _out_of_range(feature, found, _numbers(found.values), np.isinf(matrix[:, place]))
        if not feature.nullable:
            broken.append(Broken(f"{name} is missing", found.missing))
    for name, column in demanded.items():
        if name in (signature.entity, signature.event_time):
            broken.append(Broken(f"{name} is not {reading.NOUNS[column.kind]}", read[name].unread, read[name].raw))
            broken.append(Broken(f"{name} is missing", read[name].missing))
    event_time = None if signature.event_time is None else values[signature.event_time]
    return Checked(matrix, event_time, [each for each in broken if each.rows.any()], values)


def _noun(feature: Feature) -> str:
    return reading.NOUNS[reading.of_feature(feature).kind]


def _numbers(column: pa.Array) -> NDArray[np.float64]:
    """Return numbers and truth values, missing ones as NaN."""
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))


def _out_of_range(feature: Feature, found: columns.Read, values: NDArray[np.float64], infinite: Mask) -> list[Broken]:
    name = feature.name
    broken = [Broken(f"{name} is not finite", infinite, found.raw)]
    if feature.minimum is not None:
        broken.append(Broken(f"{name} is below {feature.minimum:g}", (values < feature.minimum) & ~infinite, found.raw))
    if feature.maximum is not None:
        broken.append(Broken(f"{name} is above {feature.maximum:g}", (values > feature.maximum) & ~infinite, found.raw))
    return broken


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
