"""Model development: prepare, train, evaluate, register, and tune; `pipelines` runs them in the order of dvc.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twoloops.errors import ProjectError, RedVerdictError
from twoloops.paths import paths
from twoloops.storage import write_json


@contextmanager
def record_failure(step: str) -> Iterator[None]:
    """Write down why a step failed, for the report on a change: a reviewer need not search the log."""
    paths().failure.unlink(missing_ok=True)
    try:
        yield
    except RedVerdictError:
        raise  # the step has done its work: reports/verdict.json tells why
    except ProjectError as error:
        write_json(paths().failure, {"step": step, "message": str(error), "hint": error.hint})
        raise
