"""From a fitted scikit-learn estimator to an ONNX graph that reads one matrix, as a service is fastest with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

FIRST_OPSET_THAT_COUNTS_PARTS = 18  # of ONNX's Split: https://onnx.ai/onnx/operators/onnx__Split.html

Column = tuple[int, float | None]  # of the matrix, and the code that a one-hot column stands for; None: the number


def from_estimator(estimator: Any, names: list[str], matrix: str, options: dict[str, Any] | None) -> bytes:
    """Convert a fitted estimator to a graph with one input, a matrix.

    Args:
        estimator: fitted on a data frame with the columns `names`.
        names: the matrix's columns, in its order.
        matrix: the name of the graph's input, of shape [rows, columns], float32.
        options: passed to skl2onnx.

    Returns:
        The graph; the same estimator gives the same bytes.

    Raises:
        MissingConverter, MissingShapeCalculator, NotImplementedError, RuntimeError: skl2onnx knows no graph for it.
    """
    estimator = with_exact_thresholds(estimator)
    model = _trees(estimator, names, matrix, options) or _any(estimator, names, matrix, options)
    # The converter lists the operator sets in the order of a Python set, which differs from process to process.
    operators = sorted(model.opset_import, key=lambda each: each.domain)
    del model.opset_import[:]
    model.opset_import.extend(operators)
    return bytes(model.SerializeToString(deterministic=True))


def with_exact_thresholds(estimator: Any) -> Any:
    """Return a copy of a fitted estimator whose trees ask for thresholds that float32 holds.

    A graph keeps thresholds as float32, and one that is rounded up sends the value just above it to the other side:
    https://github.com/onnx/sklearn-onnx/issues/1192. What a model reads is float32 already. So "at most t" and "at
    most the largest float32 that is not above t" are the same question, and the graph can keep the second exactly.
    """
    from copy import deepcopy

    copied = deepcopy(estimator)
    _round_thresholds(copied, set())
    return copied


def _round_thresholds(part: Any, seen: set[int]) -> None:
    """Round the thresholds of all trees in a part of an estimator, wherever it keeps them."""
    from sklearn.base import BaseEstimator
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.tree._tree import Tree

    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, TreePredictor):
        part.nodes["num_threshold"] = largest_float32_not_above(part.nodes["num_threshold"])
    elif isinstance(part, Tree):
        part.threshold[:] = largest_float32_not_above(part.threshold)
    elif isinstance(part, BaseEstimator):
        for each in vars(part).values():
            _round_thresholds(each, seen)
    elif isinstance(part, dict):
        for each in part.values():
            _round_thresholds(each, seen)
    elif isinstance(part, list | tuple) or (isinstance(part, np.ndarray) and part.dtype == object):
        for each in part.ravel() if isinstance(part, np.ndarray) else part:
            _round_thresholds(each, seen)


def largest_float32_not_above(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each value the largest float32 that is not above it, as float64, shape as it came."""
    with np.errstate(over="ignore"):  # beyond float32 is infinity, and then its neighbour below
        rounded = values.astype(np.float32)
    above = rounded.astype(np.float64) > values
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded.astype(np.float64)


def _any(estimator: Any, names: list[str], matrix: str, options: dict[str, Any] | None) -> ModelProto:
    """Convert any estimator: the converter's input for each named column comes from a Split of the matrix."""
    from onnx import TensorProto, helper
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    model = to_onnx(estimator, initial_types=[(name, FloatTensorType([None, 1])) for name in names], options=options)
    graph = model.graph
    spelled = [each.name for each in graph.input]  # the columns' names as the converter spells them
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    parts: dict[str, Any] = {"num_outputs": len(spelled)} if opset >= FIRST_OPSET_THAT_COUNTS_PARTS else {}
    graph.node.insert(0, helper.make_node("Split", [matrix], spelled, axis=1, **parts))
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(matrix, TensorProto.FLOAT, [None, len(spelled)]))
    return model


def _trees(estimator: Any, names: list[str], matrix: str, options: dict[str, Any] | None) -> ModelProto | None:
    """Convert one-hot encoding followed by trees to trees alone; return None for any other estimator.

    A split on a one-hot column asks whether a category is a certain one. A node of a tree can ask that
    of the category's code, so that the trees read the matrix themselves: one step in place of a dozen.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    if not isinstance(estimator, Pipeline) or len(estimator) != 2 or not isinstance(estimator[0], ColumnTransformer):
        return None
    columns = _columns(estimator[0], names)
    if columns is None:
        return None
    model = to_onnx(estimator[1], initial_types=[("wide", FloatTensorType([None, len(columns)]))], options=options)
    readers = [node for node in model.graph.node if "wide" in node.input]
    if len(readers) != 1 or not readers[0].op_type.startswith("TreeEnsemble") or not _fold(readers[0], columns):
        return None
    readers[0].input[0] = matrix
    model.graph.input[0].name = matrix
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = len(names)
    return model


def _columns(transformer: Any, names: list[str]) -> list[Column] | None:
    """Return what each column of the transformer's output is, or None when it is more than codes and numbers."""
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

    columns: list[Column] = []
    for _, step, taken in transformer.transformers_:
        if len(taken) == 0:
            continue  # such as an encoder of categories where there are none: it was never fitted
        places = [names.index(name) for name in taken if name in names]
        if len(places) != len(taken) or isinstance(taken, str):
            return None
        if isinstance(step, FunctionTransformer) and step.func is None:  # "passthrough"
            columns += [(place, None) for place in places]
        elif isinstance(step, OneHotEncoder) and _is_plain(step):
            for place, codes in zip(places, step.categories_, strict=True):
                columns += [(place, float(code)) for code in codes]
        elif step != "drop":
            return None
    return columns


def _is_plain(encoder: Any) -> bool:
    grouped = encoder.min_frequency is not None or encoder.max_categories is not None
    return encoder.handle_unknown == "ignore" and encoder.drop is None and not grouped


def _fold(trees: NodeProto, columns: list[Column]) -> bool:
    """Let the trees read the matrix; return False, and change nothing, where a split cannot be asked of a code."""
    found = {attribute.name: attribute for attribute in trees.attribute}
    modes, features = found["nodes_modes"].strings, found["nodes_featureids"].ints
    values, missing = found["nodes_values"].floats, found["nodes_missing_value_tracks_true"].ints
    yes, no = found["nodes_truenodeids"].ints, found["nodes_falsenodeids"].ints
    splits = [node for node, mode in enumerate(modes) if mode != b"LEAF"]
    of_codes = [node for node in splits if columns[features[node]][1] is not None]
    if any(modes[node] != b"BRANCH_LEQ" or not 0 <= values[node] < 1 for node in of_codes):
        return False
    for node in of_codes:
        # At most a half of one: it is another category.
        modes[node] = b"BRANCH_EQ"
        values[node] = columns[features[node]][1]
        yes[node], no[node] = no[node], yes[node]
        missing[node] = 0
    for node in splits:
        features[node] = columns[features[node]][0]
    return True
