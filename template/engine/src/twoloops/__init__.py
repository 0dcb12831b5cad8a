"""From data to a model in production: the inner loop, the outer loop, and the verbs that run both.

What a project's own code may import stands here, and nothing below this package: names listed in `__all__` keep
their meaning for a major version, everything else may move with any release. A name is loaded when it is first
asked for, so that `import twoloops` costs nothing. docs/api.md describes each.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twoloops.artifact import ModelFile, Predictor, as_python
    from twoloops.contracts.split import Frozen, Split
    from twoloops.errors import ProjectError
    from twoloops.inner_loop.measure import Metric
    from twoloops.params import ModelSection
    from twoloops.params import load as load_params
    from twoloops.problems.outputs.classes import area_under_roc
    from twoloops.problems.tabular.contract import check as check_contract
    from twoloops.problems.tabular.export import as_onnx
    from twoloops.problems.tabular.files import read_table
    from twoloops.problems.tabular.signature import Signature
    from twoloops.problems.tabular.splitting import by_group, by_time
    from twoloops.problems.tabular.testing import encode_features, encode_target, estimator_scores, project_signature
    from twoloops.testing import run_small_loop

__all__ = [
    "Frozen",
    "Metric",
    "ModelFile",
    "ModelSection",
    "Predictor",
    "ProjectError",
    "Signature",
    "Split",
    "area_under_roc",
    "as_onnx",
    "as_python",
    "by_group",
    "by_time",
    "check_contract",
    "encode_features",
    "encode_target",
    "estimator_scores",
    "load_params",
    "project_signature",
    "read_table",
    "run_small_loop",
]

_HOMES = {
    "Frozen": "contracts.split",
    "Metric": "inner_loop.measure",
    "ModelFile": "artifact",
    "ModelSection": "params",
    "Predictor": "artifact",
    "ProjectError": "errors",
    "Signature": "problems.tabular.signature",
    "Split": "contracts.split",
    "area_under_roc": "problems.outputs.classes",
    "as_onnx": "problems.tabular.export",
    "as_python": "artifact",
    "by_group": "problems.tabular.splitting",
    "by_time": "problems.tabular.splitting",
    "check_contract": "problems.tabular.contract:check",
    "encode_features": "problems.tabular.testing",
    "encode_target": "problems.tabular.testing",
    "estimator_scores": "problems.tabular.testing",
    "load_params": "params:load",
    "project_signature": "problems.tabular.testing",
    "read_table": "problems.tabular.files",
    "run_small_loop": "testing",
}


# Names that are to go: what to write instead, and the version without them. Until then they work, and warn.
_DEPRECATED: dict[str, tuple[str, str]] = {}


def __getattr__(name: str) -> Any:
    if name in _DEPRECATED:
        replacement, version = _DEPRECATED[name]
        message = f"{__name__}.{name} goes in {version}; use {__name__}.{replacement}."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return __getattr__(replacement)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, _, original = _HOMES[name].partition(":")
    value = getattr(import_module(f"{__name__}.{home}"), original or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
