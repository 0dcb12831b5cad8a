"""What owners' code imported until 0.2.0 and where it is now: the registry of rewritings.

A name below the project's package is written without the package: `inner_loop.splitting.Split`. Each entry has a case
in tests/updates/test_rewritings.py. A call whose arguments have changed has a rewriting of its own; what has none is
told to the owner with file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import libcst as cst
from libcst import matchers as m

PACKAGE = "twoloops"

# The modules that the machinery had in a project's own package.
MACHINERY = frozenset(
    [
        *("artifact", "cli", "contract", "graph", "hosting", "inner_loop", "lineage", "outer_loop", "params"),
        *("platform", "registry", "storage", "supply_chain", "task", "updating", "verbs"),
    ]
)

# Names that are the same thing in the engine's public API.
NAMES = {
    "ProjectError": "ProjectError",
    "artifact.ModelFile": "ModelFile",
    "artifact.Predictor": "Predictor",
    "artifact.Signature": "Signature",
    "artifact.as_onnx": "as_onnx",
    "artifact.as_python": "as_python",
    "contract.check": "check_contract",
    "inner_loop.measure.Metric": "Metric",
    "inner_loop.splitting.Frozen": "Frozen",
    "inner_loop.splitting.Split": "Split",
    "inner_loop.splitting.by_group": "by_group",
    "inner_loop.splitting.by_time": "by_time",
    "params.load": "load_params",
    "storage.read_table": "read_table",
    "task.area_under_roc": "area_under_roc",
}


@dataclass(frozen=True)
class Call:
    """A function that takes other arguments now.

    Attributes:
        new: its name in the public API.
        matches: whether the arguments of a call are those that the rewriting knows.
        keeps: the arguments that stay, as expressions of the call.
        instead: what to do where they are not.
    """

    new: str
    matches: Callable[[cst.Call], bool]
    keeps: Callable[[cst.Call], list[cst.BaseExpression]]
    instead: str


# The signature of the project, under the name that the project's own tests give it.
SIGNATURE = m.Name("signature") | m.Call()
TARGET = m.Attribute(attr=m.Name("TARGET"))


def _arguments(*values: Any) -> m.Call:
    return m.Call(args=[m.Arg(value=value, keyword=None) for value in values])


def _rows_of_target(call: cst.Call) -> list[cst.BaseExpression]:
    return [cst.ensure_type(call.args[0].value, cst.Subscript).value]


def _rows_of_inputs(call: cst.Call) -> list[cst.BaseExpression]:
    return [call.args[0].value, cst.ensure_type(call.args[1].value, cst.Call).args[0].value]


_SIGNATURE_OF = _arguments(m.Attribute(attr=m.Name("CONTRACT")), m.Name(), m.Attribute(attr=m.Name("NAME")))
_INPUTS = _arguments(m.DoNotCare(), SIGNATURE)
_SCORES = _arguments(
    m.DoNotCare(), m.Call(func=m.Name("inputs") | m.Attribute(attr=m.Name("inputs")), args=_INPUTS.args)
)
_ENCODE_TARGET = _arguments(
    m.Subscript(slice=[m.SubscriptElement(slice=m.Index(value=TARGET))]),
    m.Attribute(value=SIGNATURE, attr=m.Name("classes")),
)

CALLS: Mapping[str, Call] = {
    "contract.signature": Call(
        "project_signature",
        lambda call: m.matches(call, _SIGNATURE_OF),
        lambda _: [],
        "project_signature() of twoloops makes the signature of the project's own contract",
    ),
    "inner_loop.train.inputs": Call(
        "encode_features",
        lambda call: m.matches(call, _INPUTS),
        lambda call: [call.args[0].value],
        "encode_features(rows) of twoloops makes the features, by the project's signature",
    ),
    "task.encode_target": Call(
        "encode_target",
        lambda call: m.matches(call, _ENCODE_TARGET),
        _rows_of_target,
        "encode_target(rows) of twoloops encodes the target column of whole rows",
    ),
    "task.scores": Call(
        "estimator_scores",
        lambda call: m.matches(call, _SCORES),
        _rows_of_inputs,
        "estimator_scores(estimator, rows) of twoloops takes rows as they are, and encodes them itself",
    ),
}

OTHERWISE = (
    "it is the engine's own now, and not part of what it promises: use a public name of twoloops (engine/README.md "
    "lists them), or copy what you need into your own code"
)
