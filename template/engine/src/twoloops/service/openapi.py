"""The OpenAPI document: made from the model's signature, so that it always tells what is true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twoloops.contracts.serving import DATATYPES
from twoloops.params import ServeParams
from twoloops.service import protocols
from twoloops.service.models import Deployed, Model

Json = dict[str, Any]

ERRORS = {
    401: "A token is asked for, and the request has none that is known.",
    403: "A page of another origin calls, which the deployment does not allow.",
    400: "The body is not JSON, is nested too deeply or is not UTF-8.",
    408: "The request took too long to arrive.",
    413: "The body is too large, or has too many rows.",
    415: "The content type is another one, or the body is compressed.",
    422: "The rows break the contract: each problem is told with its row and field.",
    500: "The model failed; the request may be right.",
    503: "Too many requests wait already. Ask again after the seconds in Retry-After.",
}


def document(name: str, deployed: Deployed, settings: ServeParams) -> Json:
    """Return the OpenAPI 3.1 document of the service as it is now.

    Args:
        name: of the model.
        deployed: the models that answer; the stable one's columns are described.
        settings: the limits.
    """
    model = deployed.stable
    answered = {each: column.tolist()[0] for each, column in model.answers.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{name}: predictions",
            "version": model.version,
            "description": (
                f"At most {settings.maximum_rows:,} rows and {settings.maximum_body_mb:g} MB a request. "
                "Every answer has X-Request-ID; the client's own is taken when it sends one."
            ),
        },
        "paths": _paths(name, model, answered),
        "components": {
            "schemas": {
                "Row": model.schema.openapi(),
                "Rows": _one_or_many(settings.maximum_rows),
                "Prediction": _prediction(model),
                "Predictions": {
                    "type": "object",
                    "required": ["model_version", "request_id", "predictions"],
                    "properties": {
                        "model_version": {"type": "string"},
                        "request_id": {"type": "string"},
                        "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}},
                    },
                },
                "Error": _ERROR,
                "Readiness": _READINESS,
            }
        },
    }


def _paths(name: str, model: Model, answered: Json) -> Json:
    row = {"$ref": "#/components/schemas/Row"}
    rows = {"$ref": "#/components/schemas/Rows"}
    wrapped = _object({"predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}}})
    examples = {"one": {"value": model.example}, "many": {"value": [model.example, model.example]}}
    predictions = {"model_version": model.version, "request_id": "a1b2c3-1", "predictions": [answered]}
    split = {"columns": list(model.example), "data": [list(model.example.values())]}
    invocation = {
        "anyOf": [
            rows,
            _object({"dataframe_records": {"type": "array", "items": row, "minItems": 1}}),
            _object({"dataframe_split": _SPLIT}),
            _object({"instances": {"type": "array", "items": row, "minItems": 1}}),
        ]
    }
    wrappers = {
        "mlflow": {"value": {"dataframe_split": split}},
        "vertex": {"value": {"instances": [model.example]}},
        "rows": {"value": [model.example]},
    }
    score = {"anyOf": [rows, _object({"input_data": {"anyOf": [rows, _SPLIT]}})]}
    model_path = f"/v2/models/{name}"
    ready = {"200": _json("Ready.", {"$ref": "#/components/schemas/Readiness"})}
    not_ready = {"503": _json("The service is leaving.", {"$ref": "#/components/schemas/Readiness"})}
    alive = _object({"live": {"type": "boolean"}})
    v2_ready = _object({"name": {"type": "string"}, "live": {"type": "boolean"}, "ready": {"type": "boolean"}})
    return {
        "/predict": _post("Predict one row, or a list of them", "predict", rows, examples, "Predictions", predictions),
        "/invocations": _post(
            "Predict, as MLflow, SageMaker and Vertex AI ask; text/csv with a header too",
            "invocations",
            invocation,
            wrappers,
            "Predictions",
            predictions,
        ),
        "/score": _post(
            "Predict, as Azure ML asks",
            "score",
            score,
            {"rows": {"value": [model.example]}, "split": {"value": {"input_data": split}}},
            wrapped,
            {"predictions": [answered]},
        ),
        f"{model_path}/infer": _post(
            "Predict, by the Open Inference Protocol",
            "infer",
            _inference_request(),
            {"tensors": {"value": {"inputs": model.schema.tensors(model.example)}}},
            _object({"model_name": {"type": "string"}, "model_version": {"type": "string"}, "outputs": _TENSORS}),
            protocols.inference_response(name, model.version, {}, model.answers, model.answers),
            _object({"error": {"type": "string"}}),
        ),
        "/v2": _get("About the server", "server", {"200": _json("Told.", _object({"name": {"type": "string"}}))}),
        model_path: _get("About the model", "model", {"200": _json("Told.", _object({"inputs": _TENSOR_TYPES}))}),
        f"{model_path}/ready": _get(
            "Whether the model answers", "modelReady", {"200": _json("Yes.", v2_ready), "503": _json("No.", v2_ready)}
        ),
        "/v2/health/live": _get("Whether the process runs", "v2Live", {"200": _json("Yes.", alive)}),
        "/v2/health/ready": _get(
            "Whether the service answers", "v2Ready", {"200": _json("Yes.", v2_ready), "503": _json("No.", v2_ready)}
        ),
        "/health/live": _get("Whether the process runs", "live", {"200": _json("Yes.", alive)}),
        "/health/ready": _get("Whether the service answers, and with which models", "ready", ready | not_ready),
        "/ping": _get("The same, as SageMaker and MLflow ask", "ping", ready | not_ready),
        "/": _get("Whether the process runs, as Azure ML asks", "root", {"200": _json("Yes.", alive)}),
        "/metrics": _get("Metrics for Prometheus", "metrics", {"200": _text("Prometheus' text format.")}),
        "/openapi.json": _get("This document", "openapi", {"200": _json("OpenAPI 3.1.", {"type": "object"})}),
    }


def _post(
    summary: str,
    identifier: str,
    body: Json,
    examples: Json,
    answer: Json | str,
    example: Json,
    error: Json | None = None,
) -> Json:
    answer_type = {"$ref": f"#/components/schemas/{answer}"} if isinstance(answer, str) else answer
    error = error or {"$ref": "#/components/schemas/Error"}
    answered = _json("Predictions, a row each in the order of the request.", answer_type, example)
    responses = {"200": answered} | {str(code): _json(text, error) for code, text in ERRORS.items()}
    content = {"application/json": {"schema": body, "examples": examples}}
    return {
        "post": {
            "summary": summary,
            "operationId": identifier,
            "requestBody": {"required": True, "content": content},
            "responses": responses,
        }
    }


def _get(summary: str, identifier: str, responses: Json) -> Json:
    return {"get": {"summary": summary, "operationId": identifier, "responses": responses}}


def _json(text: str, schema: Json, example: Json | None = None) -> Json:
    content: Json = {"schema": schema} | ({"example": example} if example is not None else {})
    return {"description": text, "content": {"application/json": content}}


def _text(text: str) -> Json:
    return {"description": text, "content": {"text/plain": {"schema": {"type": "string"}}}}


def _object(properties: Mapping[str, Json]) -> Json:
    return {"type": "object", "required": list(properties), "properties": dict(properties)}


def _one_or_many(maximum_rows: int) -> Json:
    row = {"$ref": "#/components/schemas/Row"}
    return {"anyOf": [row, {"type": "array", "items": row, "minItems": 1, "maxItems": maximum_rows}]}


def _prediction(model: Model) -> Json:
    properties = {name: {"type": _type(column.dtype.kind)} for name, column in model.answers.items()}
    return _object(properties)


def _type(kind: str) -> str:
    return {"f": "number", "i": "integer", "b": "boolean"}.get(kind, "string")


def _inference_request() -> Json:
    return _object({"inputs": _TENSORS})


_TENSOR = _object(
    {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"enum": sorted(DATATYPES)},
        "data": {"type": "array"},
    }
)
_TENSORS: Json = {"type": "array", "items": _TENSOR, "minItems": 1}
_TENSOR_TYPES: Json = {"type": "array", "items": _object({"name": {"type": "string"}, "datatype": {"type": "string"}})}
_SPLIT = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "columns": {"type": "array", "items": {"type": "string"}, "description": "Default: the features in order."},
        "data": {"type": "array", "items": {"type": "array"}, "description": "Rows, each a list of values."},
    },
}
_ERROR = _object(
    {
        "error": {"type": "string", "description": "One sentence."},
        "details": {
            "type": "array",
            "items": _object(
                {
                    "row": {"type": "integer", "description": "Its place in the request, from 0."},
                    "field": {"type": ["string", "null"]},
                    "problem": {"type": "string"},
                }
            ),
        },
        "request_id": {"type": "string"},
    }
)
_MODEL = _object({"version": {"type": "string"}, "identity": {"type": "string"}})
_READINESS = _object(
    {
        "ready": {"type": "boolean"},
        "stable": _MODEL,
        "canary": {"anyOf": [_object({**_MODEL["properties"], "share": {"type": "number"}}), {"type": "null"}]},
        "deployment": {"type": ["string", "null"], "description": "SHA-256 of the deployment.json considered last."},
        "problem": {"type": ["string", "null"], "description": "Why it was refused, if it was."},
    }
)
