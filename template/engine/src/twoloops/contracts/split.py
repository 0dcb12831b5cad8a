"""What is learned from and what is held out."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """The identity of a holdout, kept in data/holdout.json and in git."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    split: str
    share: float
    since: str = ""  # by_time: the first and the last event
    until: str = ""
    rows: int
    version: str  # of the held-out records


class Split(NamedTuple):
    """The two parts of a table, and the identity of the second."""

    train: Any  # records, for tables a data frame
    holdout: Any
    frozen: Frozen
