"""Rewriting of owners' code: each entry of the registry, and what must not be touched."""

from __future__ import annotations

import ast

import pytest
import twoloops

from extensions.update import dependencies
from extensions.update.rewriting import rewrite
from extensions.update.rewritings import CALLS, NAMES

PROBLEM, TEST = "src/churn/problem/data.py", "tests/problem/test_model.py"

# A call of the old machinery as owners wrote it, and as it is now.
CALL_CASES = {
    "contract.signature": ("contract.signature(data.CONTRACT, data, task.NAME)", "project_signature()"),
    "inner_loop.train.inputs": ("inputs(rows.head(3), signature)", "encode_features(rows.head(3))"),
    "task.encode_target": ("task.encode_target(rows[data.TARGET], signature.classes)", "encode_target(rows)"),
    "task.scores": ("task.scores(model, inputs(rows, signature))[:, 1]", "estimator_scores(model, rows)[:, 1]"),
}
IMPORTS = {
    "contract": "from churn import contract\n",
    "task": "from churn import task\n",
    "inputs": "from churn.inner_loop.train import inputs\n",
    "data": "from churn.problem import data\n",
}


def module(code: str) -> str:
    """Return a module that imports what its code names."""
    return "".join(line for name, line in IMPORTS.items() if name in code) + f"\n{code}\n"


def rewritten(text: str, path: str = TEST, own: tuple[str, ...] = ()) -> str:
    found = rewrite(text, path, "churn", own)
    assert not found.left
    ast.parse(found.text)
    return found.text


@pytest.mark.parametrize(("old", "new"), NAMES.items())
def test_a_name_is_imported_from_the_engine(old: str, new: str) -> None:
    module, _, name = old.rpartition(".")
    assert new in twoloops.__all__
    full = f"from churn{'.' + module if module else ''} import {name}\n\nx = {name}\n"
    imported = f"from twoloops import {new}" + ("" if new == name else f" as {name}")
    assert rewritten(full) == f"{imported}\n\nx = {name}\n"
    relative = f"from ..{module} import {name} as other\n"
    assert rewritten(relative, PROBLEM) == f"from twoloops import {new} as other\n"
    if module:
        around, _, last = f"churn.{module}".rpartition(".")
        assert (
            rewritten(f"from {around} import {last}\n\nx = {last}.{name}\n")
            == f"from twoloops import {new}\n\nx = {new}\n"
        )
        assert (
            rewritten(f"import churn.{module}\n\nx = churn.{module}.{name}\n")
            == f"from twoloops import {new}\n\nx = {new}\n"
        )


@pytest.mark.parametrize("old", CALLS)
def test_a_call_takes_what_it_takes_now(old: str) -> None:
    before, after = CALL_CASES[old]
    assert CALLS[old].new in twoloops.__all__
    text = rewritten(module(f"print(data)\nx = {before}"))
    assert text.endswith(f"\nx = {after}\n")
    assert "from churn import" not in text
    assert f"from twoloops import {CALLS[old].new}\n" in text


@pytest.mark.parametrize(
    ("old", "call"),
    [
        ("contract.signature", "contract.signature(other, data, task.NAME)"),
        ("inner_loop.train.inputs", "inputs(rows, changed)"),
        ("task.encode_target", "task.encode_target(column, classes)"),
        ("task.scores", "task.scores(model, features)"),
    ],
)
def test_a_call_that_is_not_known_is_told_with_its_line(old: str, call: str) -> None:
    found = rewrite(module(f"x = {call}"), TEST, "churn")
    assert f"x = {call}" in found.text
    told = next(str(left) for left in found.left if left.what == f"churn.{old}")
    assert told.startswith(f"{TEST}:{found.text.count(chr(10))}: churn.{old} has moved: {CALLS[old].new}(")


def test_what_the_engine_does_not_promise_is_told_and_left() -> None:
    text = "from churn import params, registry\n\nx = registry.champion(params.load())\n"
    found = rewrite(text, TEST, "churn")
    assert "from churn import registry\n" in found.text
    assert "registry.champion(load_params())" in found.text
    assert [(left.line, left.what) for left in found.left] == [(3, "churn.registry.champion")]
    for line in ("from churn.storage import *", "import churn.cli", "x = 'churn.registry.champion'"):
        assert rewrite(f"{line}\n", TEST, "churn").left, line
        assert rewrite(f"{line}\n", TEST, "churn").text == f"{line}\n"


@pytest.mark.parametrize(
    "text",
    [
        "from churn.problem import data, metrics\n\nx = metrics.Metric\n",
        "from churn import ours\nfrom churn.features import check\n",
        "import params\n\nx = params.load()\n",
        "def build(params, task):\n    return params.load(), task.scores(1, 2)\n",
        "from churn.problem import data as contract\n\nx = contract.check\n",
        "from other.artifact import Signature\n",
        "x = 'churn is what artifact.Signature tells of'\n",
        'import torch\n\nx   =  (1,2)   # churn\n',
    ],
)  # fmt: skip
def test_what_is_not_the_machinery_stays_as_it_is(text: str) -> None:
    assert rewritten(text) == text


def test_a_module_of_the_owner_is_left_alone() -> None:
    text = "from .params import load\nfrom .storage import read_table\n"
    path = "src/churn/mine.py"
    assert rewritten(text, path, own=("params",)) == "from .params import load\nfrom twoloops import read_table\n"


def test_a_local_variable_of_the_same_name_is_no_module() -> None:
    text = "from churn import params\n\n\ndef f(params):\n    return params.load\n\n\nx = params.load()\n"
    assert rewritten(text).endswith("return params.load\n\n\nx = load_params()\n")


def test_comments_and_layout_stay() -> None:
    text = (
        '"""Ours."""\n\n# About tables.\nfrom ..storage import read_table  # local\n\n'
        "if True:\n    # only here\n    from ..artifact import Signature\n\n\nx  =  read_table( 'a' )  # odd\n"
    )
    assert rewritten(text, PROBLEM) == (
        '"""Ours."""\n\n# About tables.\nfrom twoloops import read_table  # local\n\n'
        "if True:\n    # only here\n    from twoloops import Signature\n\n\nx  =  read_table( 'a' )  # odd\n"
    )


def test_rewriting_again_changes_nothing() -> None:
    once = rewritten(module(f"x = {CALL_CASES['task.scores'][0]}\ny = data"))
    assert rewritten(once) == once


BASE = """\
[project]
name = "a"
dependencies = [
    "numpy>=2",
    "typer", # verbs
]

[dependency-groups]
training = ["onnx"]
dev = [
    "ruff",
]
"""
THEIRS = """\
[project]
name = "a"
# Yours.
dependencies = ["twoloops"]

[dependency-groups]
train = ["twoloops[training]"]
dev = [
    "ruff>=1", # checks
]
"""
MERGED = """\
[project]
name = "a"
# Yours.
dependencies = [
    "twoloops",
    "holidays>=1", # free days
    "numpy>=2.1",
]

[dependency-groups]
train = [
    "twoloops[training]",
    "xgboost>=2",
]
dev = [
    "ruff>=1", # checks
    "ipython",
]

[tool.ours]
kept = true
"""


def test_dependencies_of_the_project_survive_where_git_sees_a_conflict() -> None:
    ours = BASE.replace('    "numpy>=2",\n', '    "holidays>=1", # free days\n    "numpy>=2.1",\n')
    ours = ours.replace('["onnx"]', '["onnx", "xgboost>=2"]').replace('    "ruff",\n', '    "ruff",\n    "ipython",\n')
    assert dependencies.merge(BASE, f"{ours}\n[tool.ours]\nkept = true\n", THEIRS) == MERGED


def test_what_else_conflicts_in_it_is_for_a_person() -> None:
    assert dependencies.merge(BASE, BASE.replace('"a"', '"b"'), THEIRS.replace('"a"', '"c"')) is None
    assert dependencies.merge(BASE, "<<<<<<< a\n", THEIRS) is None
