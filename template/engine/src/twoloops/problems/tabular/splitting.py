"""The holdout: frozen once, so that two models are always compared on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from twoloops.contracts.split import Frozen, Split, is_held_out
from twoloops.errors import ProjectError
from twoloops.problems.tabular.files import data_version

if TYPE_CHECKING:
    import pandas as pd

NEW_HOLDOUT = "Freeze a new holdout with: prepare --new-holdout. The champion is then compared on the new rows too."


def by_time(frame: pd.DataFrame, time: str, share: float, frozen: Frozen | None) -> Split:
    """Hold out the newest rows; rows newer than a frozen holdout are left out until a new one is frozen.

    Args:
        frame: the checked table.
        time: the column of event times.
        share: the part of the rows to hold out, when there is no frozen holdout.
        frozen: the holdout to keep, if there is one.

    Raises:
        ProjectError: the frozen holdout cannot be found again in the data.
    """
    import pandas as pd

    frame = frame.sort_values(time, kind="stable", ignore_index=True)
    _check_rule(frozen, "time", share)
    if frozen:
        since, until = pd.Timestamp(frozen.since), pd.Timestamp(frozen.until)
    else:
        since, until = frame[time].iloc[int(len(frame) * (1 - share))], frame[time].iloc[-1]
    train = frame[frame[time] < since]
    holdout = frame[(frame[time] >= since) & (frame[time] <= until)]
    identity = {"split": "time", "since": since.isoformat(), "until": until.isoformat()}
    return _checked(train, holdout, identity, share, frozen)


def by_group(frame: pd.DataFrame, group: str, share: float, frozen: Frozen | None) -> Split:
    """Hold out whole groups, such as customers: all rows of one are on the same side.

    A group's side follows from a hash of its key and of the keys of all rows that the holdout was frozen from, so it
    stays there when rows are added. A new holdout of new rows holds other groups; of the same rows the same ones,
    with whatever columns: nobody draws holdouts until one is easy, and a model with a new feature is compared with
    the champion on rows that neither has seen.

    Args and errors as in `by_time`; `group` is the column of the group's key.
    """
    _check_rule(frozen, "group", share)
    keys = frame[group].astype(str)
    salt = frozen.salt if frozen else _draw_salt(keys)
    sides = {key: is_held_out(key, share, salt) for key in keys.unique()}
    held_out = keys.map(sides).astype(bool)
    return _checked(frame[~held_out], frame[held_out], {"split": "group", "group": group, "salt": salt}, share, frozen)


def _draw_salt(keys: pd.Series) -> str:
    """Return what decides the sides of a new holdout: it follows from the keys and how many rows each has."""
    # A key's length parts it from what follows: no other rows give the same bytes.
    counts = "".join(f"{len(key)} {key} {count} " for key, count in keys.value_counts().sort_index().items())
    return sha256(counts.encode()).hexdigest()[:16]


def _check_rule(frozen: Frozen | None, split: str, share: float) -> None:
    if frozen and (frozen.split, frozen.share) != (split, share):
        raise ProjectError(
            f"The frozen holdout is {frozen.share:.0%} by {frozen.split}; now {share:.0%} by {split} is asked for.",
            hint=NEW_HOLDOUT,
        )


def _checked(
    train: pd.DataFrame, holdout: pd.DataFrame, identity: Mapping[str, Any], share: float, frozen: Frozen | None
) -> Split:
    train, holdout = train.reset_index(drop=True), holdout.reset_index(drop=True)
    new = Frozen(**identity, share=share, rows=len(holdout), version=data_version(holdout))
    if frozen and (frozen.rows, frozen.version) != (new.rows, new.version):
        raise ProjectError(
            f"The frozen holdout has {frozen.rows:,} rows; the data now gives {new.rows:,} in its place, "
            "or other columns or values in them. Models judged on different rows cannot be compared.",
            hint=f"If the data was changed by mistake, restore it. {NEW_HOLDOUT}",
        )
    if not len(train) or not len(holdout):
        raise ProjectError(
            f"The split leaves {len(train):,} rows to train on and {len(holdout):,} to hold out.",
            hint="Change split.holdout_share in params.yaml, or the split in problem/data.py.",
        )
    return Split(train, holdout, new)
