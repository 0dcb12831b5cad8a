"""What scoring in batches asks of a kind of input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from twoloops.contracts.signature import Signature

if TYPE_CHECKING:
    import pyarrow as pa

Mask = NDArray[np.bool_]


@dataclass
class Broken:
    """The rows of a batch that break a rule.

    Attributes:
        rule: such as "tenure is above 240".
        rows: shape [rows of the batch].
        values: the column as it came, for the message; None where there is no value to show.
    """

    rule: str
    rows: Mask
    values: pa.Array | None = None


@dataclass
class Checked:
    """A batch, encoded and judged.

    Attributes:
        inputs: what the model reads, the first axis the rows.
        event_time: the event times as timestamps; None when the rows have none.
        broken: the rules that at least one row breaks.
        read: columns as the contract says, by name; in a result they stand in place of those that came.
    """

    inputs: NDArray[Any]
    event_time: pa.Array | None
    broken: list[Broken] = field(default_factory=list)
    read: dict[str, pa.Array] = field(default_factory=dict)

    @property
    def bad(self) -> Mask:
        """The rows that break any rule, shape [rows]."""
        bad = np.zeros(len(self.inputs), dtype=np.bool_)
        for each in self.broken:
            bad |= each.rows
        return bad

    def reasons(self) -> list[str]:
        """Return, for each bad row in order, all the rules it breaks, with its values."""
        import pyarrow as pa

        places = np.flatnonzero(self.bad)
        told: list[list[str]] = [[] for _ in places]
        for each in self.broken:
            shown = each.values.take(pa.array(places)).to_pylist() if each.values is not None else [None] * len(places)
            for reasons, is_broken, value in zip(told, each.rows[places], shown, strict=True):
                if is_broken:
                    reasons.append(each.rule if value is None else f"{each.rule}: {value!r}")
        return ["; ".join(reasons) for reasons in told]


class Batches(Protocol):
    """Checks and encodes Arrow batches by a model's signature."""

    signature: Signature  # of the model that scores
    version: int  # counts up when the rules change: what was scored under older rules is then scored again
    categorical: list[str]  # columns that repeat few values: they are read as dictionaries

    def refuse_schema(self, schema: pa.Schema, file: str) -> None:
        """Raise a ProjectError when no row of a file can keep the contract."""

    def check(self, batch: pa.RecordBatch) -> Checked:
        """Encode a batch and find the rows that break the contract."""
