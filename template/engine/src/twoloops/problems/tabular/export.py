"""A fitted estimator becomes an ONNX graph with one input, the matrix of encoding.py."""

from __future__ import annotations

from typing import Any, Final

from twoloops.artifact import ONNX_MODEL, OTHER_FORM, ModelFile
from twoloops.errors import ProjectError
from twoloops.problems.tabular.signature import Signature

MATRIX: Final = "features.matrix"  # the graph's one input; no converted name of a column holds a dot


def as_onnx(estimator: Any, signature: Signature, **options: Any) -> ModelFile:
    """Convert a fitted scikit-learn estimator to an ONNX graph with one input, the matrix of `encode`.

    Args:
        estimator: fitted on a data frame with the signature's columns.
        signature: names the columns.
        options: passed to skl2onnx, such as `zipmap=False` for a classifier.

    Raises:
        ProjectError: the estimator has no converter; the hint tells the other way.
    """
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    from twoloops.problems.tabular import onnx_graph as graph

    try:
        content = graph.from_estimator(estimator, signature.names, MATRIX, options or None)
    except (MissingConverter, MissingShapeCalculator, NotImplementedError, RuntimeError) as error:
        raise ProjectError(
            f"{type(estimator).__name__} cannot become an ONNX graph: {str(error).strip().splitlines()[0]}",
            hint=OTHER_FORM,
        ) from error
    return ModelFile(ONNX_MODEL, content)
