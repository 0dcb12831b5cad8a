"""What goes into a model and what comes out, whatever its inputs are."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Signature(BaseModel):
    """What every signature says; a kind of input adds what its records hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str  # the problem type
    entity: str  # whom a record is about
    event_time: str | None
    target: str
    classes: tuple[str | int | bool, ...] = ()
    # Of two classes: the last is predicted where it is more probable than this; None: the most probable class is.
    decision_threshold: float | None = None
    personal: tuple[str, ...] = ()  # fields about people that may arrive with a record and are never kept

    @property
    def outputs(self) -> list[str]:
        """The names of the scores' columns: the classes, or the target where an amount is predicted."""
        return [str(name) for name in self.classes] or [self.target]
