"""What goes into a model of tables: columns that are numbers or categories."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from twoloops.contracts import signature


class Feature(BaseModel):
    """One input column."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Literal["number", "category"]
    nullable: bool
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str | int | float | bool, ...] = ()
    other: str | None = None  # the category that stands for each text that is not in the list; None: it is refused
    dtype: Literal["float", "integer", "boolean"] = "float"  # of a number: which ones there may be


class Signature(signature.Signature):
    """What goes into a model of tables and what comes out."""

    features: tuple[Feature, ...]
    entity_kind: Literal["text", "integer"] = "text"  # how the entity's column is read

    @property
    def names(self) -> list[str]:
        """The input columns, in the model's order."""
        return [feature.name for feature in self.features]

    @property
    def categorical(self) -> list[str]:
        """The input columns that are categories."""
        return [feature.name for feature in self.features if feature.kind == "category"]

    @property
    def numeric(self) -> list[str]:
        """The input columns that are numbers."""
        return [feature.name for feature in self.features if feature.kind == "number"]
