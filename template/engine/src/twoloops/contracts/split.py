"""What is learned from and what is held out."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """The identity of a holdout, kept in data/holdout.json and in git."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    split: str
    share: float
    days: int | None = None  # where split.holdout_days asked for the share
    since: str = ""  # by_time: the first and the last event
    until: str = ""
    group: str | None = None  # by_group: the column of the key
    salt: str | None = None  # by_group: goes into the hash that decides a group's side
    rows: int
    version: str  # of the held-out records


def is_held_out(group: str, share: float, salt: str | None) -> bool:
    """Say on which side of a split by group a group lies: its hash decides, so it never changes sides.

    Args:
        group: its key, as text.
        share: of the groups, that is held out.
        salt: of the freezing.
    """
    digest = hashlib.sha256(f"{salt or ''}{group}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 < share


class Split(NamedTuple):
    """The two parts of a table, and the identity of the second."""

    train: Any  # records, for tables a data frame
    holdout: Any
    frozen: Frozen
