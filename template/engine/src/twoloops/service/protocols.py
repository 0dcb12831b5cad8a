"""Other services' ways to ask, brought into rows and back.

Each function here only translates. What a row must look like is checked afterwards, by the same
schema as `/predict`.

    Open Inference Protocol  https://github.com/kserve/open-inference-protocol
    MLflow                   https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally
    SageMaker                https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
    Vertex AI                https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
    Azure ML                 https://learn.microsoft.com/azure/machine-learning/how-to-deploy-custom-container
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twoloops.contracts.serving import RefusedError
from twoloops.json_body import shown

# ------------------------------------------------------------------ Open Inference Protocol


def server_metadata(name: str, version: str) -> dict[str, Any]:
    """Return what GET /v2 answers."""
    return {"name": name, "version": version, "extensions": []}


def model_metadata(
    name: str, versions: Sequence[str], inputs: list[dict[str, Any]], columns: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what GET /v2/models/NAME answers.

    Args:
        name: of the model.
        versions: that may be asked for.
        inputs: name, datatype and shape of each.
        columns: predictions about any row, each an array of shape [rows].
    """
    outputs = [{"name": each, "datatype": _datatype(column), "shape": [-1]} for each, column in columns.items()]
    return {
        "name": name,
        "versions": list(versions),
        "platform": "onnxruntime_onnx",
        "inputs": inputs,
        "outputs": outputs,
    }


def _datatype(column: Any) -> str:
    return {"f": "FP64", "i": "INT64", "b": "BOOL"}.get(column.dtype.kind, "BYTES")


def wanted_outputs(content: Mapping[str, Any], columns: Iterable[str]) -> list[str]:
    """Return the names of the outputs that a request asks for: those it names, or all.

    Raises:
        RefusedError: there is none of this name.
    """
    known = list(columns)
    wanted = content.get("outputs")
    if not wanted:
        return known
    if not isinstance(wanted, list):
        raise RefusedError(422, "'outputs' must be a list.")
    if len(wanted) > len(known):  # each may come once: an answer is no larger than one that has all
        raise RefusedError(422, f"'outputs' names {len(wanted):,} outputs. There are: {', '.join(known)}.")
    names: list[str] = []
    for each in wanted:
        name = each.get("name") if isinstance(each, dict) else None
        if name not in known:
            raise RefusedError(422, f"There is no output {shown(name)}. There are: {', '.join(known)}.")
        names.append(str(name))
    return names


def inference_response(
    name: str, version: str, content: Mapping[str, Any], columns: Mapping[str, Any], outputs: Iterable[str]
) -> dict[str, Any]:
    """Return what an inference request is answered with.

    Args:
        name: of the model.
        version: of the model that answered.
        content: the request; its id comes back.
        columns: predictions, each an array of shape [rows].
        outputs: the columns that are wanted.
    """
    tensors = [
        {
            "name": each,
            "datatype": _datatype(columns[each]),
            "shape": [len(columns[each])],
            "data": columns[each].tolist(),
        }
        for each in outputs
    ]
    answer: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": tensors}
    return answer | ({"id": content["id"]} if isinstance(content.get("id"), str) else {})
