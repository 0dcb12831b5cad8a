"""The machines of jobs and services: infra/machines.yaml, read and checked; what a machine is, each cloud says."""

from __future__ import annotations

from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from twoloops import config
from twoloops.errors import ProjectError
from twoloops.paths import paths


class Section(BaseModel):
    """A section of machines.yaml; a key it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Machines(Section):
    """machines.yaml; a cloud gives its sections their types."""

    training: Any
    scoring: Any = None
    serving: Any = {}

    @model_validator(mode="after")
    def _serves_everywhere(self) -> Self:
        chosen = config.current()
        if chosen.online and set(self.serving) != set(chosen.environments):
            raise ValueError(f"serving must name these environments and no other: {', '.join(chosen.environments)}")
        if not chosen.online and self.serving:
            raise ValueError("serving is there, and the project has no service")
        if chosen.batch != (self.scoring is not None):
            raise ValueError(f"scoring is {'missing' if chosen.batch else 'there, and the project scores no tables'}")
        return self


M = TypeVar("M", bound=Machines)


def load(kind: type[M]) -> M:
    """Read infra/machines.yaml.

    Args:
        kind: the cloud's own.

    Raises:
        ProjectError: it is missing, is not YAML, or a value is not allowed.
    """
    try:
        content = yaml.safe_load(paths().machines.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProjectError(
            f"{paths().machines} does not exist.", hint="Run this in the project's folder; git restores the file."
        ) from error
    except yaml.YAMLError as error:
        raise ProjectError(
            f"{paths().machines} is not valid YAML: {error}", hint="Correct the line that is named."
        ) from error
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors()]
        raise ProjectError(
            f"{paths().machines} is not valid:\n" + "\n".join(f"  - {line}" for line in lines),
            hint="The comments in the file and docs/cost.md explain the keys.",
        ) from error
