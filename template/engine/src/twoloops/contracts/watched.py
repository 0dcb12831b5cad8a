"""What is watched of a model's inputs: columns of numbers and of categories' codes, whatever the inputs are."""

from __future__ import annotations

from typing import Final, NamedTuple

# A category is watched as a number. Codes of the known ones begin after these two.
UNKNOWN: Final = -1.0
MISSING: Final = 0.0
FIRST_CATEGORY: Final = 1


class Watched(NamedTuple):
    """One column that is captured, compared and explained."""

    name: str
    categories: tuple[str | int | float | bool, ...] | None = None  # None: it is a number, and a missing one is NaN
    unit: str = ""


class Layout(NamedTuple):
    """What is captured and compared of a model: the watched columns of its inputs, and its scores."""

    watched: tuple[Watched, ...]
    outputs: tuple[str, ...]
