"""The online service, in this process: what it answers, what it refuses, what it keeps."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from twoloops import artifact, params, project_signature
from twoloops.artifact import Predictor
from twoloops.contracts.serving import RefusedError
from twoloops.errors import ProjectError
from twoloops.problem import data as problem
from twoloops.problems.tabular import contract
from twoloops.problems.tabular.encoding import encode, row_encoder
from twoloops.problems.tabular.schema import Schema
from twoloops.problems.tabular.signature import Feature, Signature
from twoloops.service import models as service_models
from twoloops.service import server
from twoloops.service.app import Service
from twoloops.service.capture import Capture
from twoloops.service.metrics import Metrics
from twoloops.service.models import Models, load, locate

from tests.engine.support.project import Project, example_rows, signature_of
from tests.engine.support.serving import MODEL, Client, make, receive, running

NAME = "churn"  # the package of the project, and so the name of its model
FEATURES = (
    Feature(name="colour", kind="category", nullable=True, categories=("red", "blue")),
    Feature(name="my size", kind="number", nullable=False, minimum=0.0, maximum=10.0),
    Feature(name="level", kind="category", nullable=False, categories=(1, 2)),
    Feature(name="open", kind="category", nullable=False, categories=(True, False)),
)
SIGNATURE = Signature(task="any", features=FEATURES, entity="id", event_time="seen_at", target="y", personal=("email",))
GOOD = {"colour": "blue", "my size": 2.5, "level": 2, "open": True}


@pytest.fixture
def client(project: Project) -> Iterator[Client]:
    made = make(MODEL)
    yield made
    made.service.close()


def deploy(stable: str, canary: str | None = None, share: float = 0.5) -> None:
    """Write a deployment of artifact folders by their identity."""
    folder = Path("deployments/test")
    folder.mkdir(parents=True, exist_ok=True)

    def role(identity: str, **more: float) -> dict[str, Any]:
        return {"version": identity[:4], "identity": identity, "registered_at": "2026-01-01T00:00:00+00:00"} | more

    content = {"stable": role(stable), "canary": role(canary, share=share) if canary else None}
    new = folder / "deployment.new"
    new.write_text(json.dumps(content))
    new.replace(folder / "deployment.json")


def place(make_model: Callable[[Signature], artifact.ModelFile] | None = None) -> str:
    """Put a model where deployments find it: the trained one, or one of the same signature."""
    predictor = Predictor.load(MODEL)
    name: artifact.ModelName = "model.onnx" if (MODEL / "model.onnx").exists() else "model.skops"
    model = make_model(signature_of(predictor)) if make_model else artifact.ModelFile(name, (MODEL / name).read_bytes())
    folder = Path("deployments/models/new")
    identity = artifact.write(folder, model, predictor.signature, {"reference.json": predictor.reference})
    target = folder.with_name(identity)
    if not target.exists():
        folder.rename(target)
    return identity


def constant(value: float, above: float | None = None) -> Callable[[Signature], artifact.ModelFile]:
    """Return what makes a model that always answers `value`, or NaN where the first number is above a limit."""

    def model(signature: Signature) -> artifact.ModelFile:
        from onnx import TensorProto, helper

        outputs = len(signature.classes) or 1
        limit = np.inf if above is None else above
        first_number = next(place for place, each in enumerate(signature.features) if each.kind == "number")
        constants: dict[str, tuple[int, list[float]]] = {
            "place": (TensorProto.INT64, [first_number]),
            "limit": (TensorProto.FLOAT, [limit]),
            "value": (TensorProto.FLOAT, [value]),
            "nothing": (TensorProto.FLOAT, [np.nan]),
            "ones": (TensorProto.FLOAT, [1.0] * outputs),
        }
        nodes = [
            helper.make_node("Constant", [], [name], value=helper.make_tensor(name, kind, [len(content)], content))
            for name, (kind, content) in constants.items()
        ]
        nodes += [
            helper.make_node("Gather", ["features.matrix", "place"], ["number"], axis=1),
            helper.make_node("Greater", ["number", "limit"], ["beyond"]),
            helper.make_node("Where", ["beyond", "nothing", "value"], ["chosen"]),
            helper.make_node("Mul", ["chosen", "ones"], ["scores"]),
        ]
        graph = helper.make_graph(
            nodes,
            "constant",
            [helper.make_tensor_value_info("features.matrix", TensorProto.FLOAT, [None, len(signature.features)])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, outputs])],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        return artifact.ModelFile("model.onnx", made.SerializeToString())

    return model


# ------------------------------------------------------------------ rows


def test_a_row_is_read_by_hand() -> None:
    schema = Schema(SIGNATURE, 10)
    rows = schema.from_json(json.dumps([GOOD | {"id": 7, "email": "a@example.com"}, GOOD | {"colour": None}]).encode())
    matrix, entities = schema.encode(rows)
    np.testing.assert_array_equal(matrix, np.array([[2, 2.5, 2, 1], [0, 2.5, 2, 1]], dtype=np.float32))
    assert entities == ["7", None]


def test_an_entity_that_is_personal_is_never_kept() -> None:
    schema = Schema(SIGNATURE.model_copy(update={"personal": ("id", "email")}), 10)
    rows = schema.from_json(json.dumps(GOOD | {"id": "a person", "email": "a@example.com"}).encode())
    assert schema.encode(rows)[1] == [None]


@pytest.mark.parametrize(
    ("change", "field", "text"),
    [
        ({"my size": -1}, "my size", "must be at least 0"),
        ({"my size": 11}, "my size", "must be at most 10"),
        ({"my size": 10**400}, "my size", "must be at most 10"),
        ({"my size": "2"}, "my size", "must be a number"),
        ({"my size": True}, "my size", "must be a number"),
        ({"my size": None}, "my size", "must not be null"),
        ({"my size": [2]}, "my size", "must be a number"),
        ({"colour": "green"}, "colour", 'must be one of "red", "blue"'),
        ({"colour": {"a": 1}}, "colour", 'must be one of "red", "blue"'),
        ({"level": True}, "level", "must be one of 1, 2"),
        ({"level": 3}, "level", "must be one of 1, 2"),
        ({"open": 1}, "open", "must be one of true, false"),
        ({"sice": 1}, "sice", "is not known"),
        ({"coluor": "red"}, "coluor", "is not known; did you mean 'colour'?"),
        ({"y": 1}, "y", "is not known"),
        ({"id": [1]}, "id", "must be text or a number"),
        ({"id": "a" * 257}, "id", "must have at most 256 characters"),
    ],
)
def test_each_problem_is_told_with_row_and_field(change: dict[str, Any], field: str, text: str) -> None:
    schema = Schema(SIGNATURE, 10)
    body = json.dumps([GOOD, GOOD | change]).encode()
    with pytest.raises(RefusedError) as raised:
        schema.encode(schema.from_json(body))
    assert raised.value.status == 422
    assert raised.value.details == [{"row": 1, "field": field, "problem": text}]
    assert f"row 1, {field}: {text}" in raised.value.error


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(RefusedError) as raised:
        Schema(SIGNATURE, 10).from_json(b'[{"level": 3, "open": true, "more": 1}, 5]')
    assert [(each["row"], each["field"]) for each in raised.value.details] == [
        (0, "colour"),
        (0, "my size"),
        (0, "level"),
        (0, "more"),
        (1, None),
    ]
    assert raised.value.rows == 2


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "body is empty"),
        (b"{", 400, "not JSON"),
        (b'{"colour": NaN}', 400, "null stands for a missing value"),
        (b'"\xff"', 400, "not UTF-8"),
        (b"[1\xff]", 400, "not UTF-8"),
        (b"[" * 1_000_000, 400, "nested too deeply"),
        (b'{"email": ' + b"[" * 1_000_000, 400, "nested too deeply"),
        (b'{"unknown": ' + b"[" * 1_000_000, 400, "nested too deeply"),
        (b"[]", 422, "no rows"),
        (b"5", 422, "must be an object"),
        (json.dumps([GOOD] * 11).encode(), 413, "at most 10 are allowed"),
        (b"[" + b"1," * 50 + b"1]", 413, "51 rows"),
    ],
)
def test_what_is_no_list_of_rows_is_refused(body: bytes, status: int, text: str) -> None:
    with pytest.raises(RefusedError, match=text) as raised:
        Schema(SIGNATURE, 10).from_json(body)
    assert raised.value.status == status


def test_a_whole_number_may_come_with_a_point() -> None:
    schema = Schema(SIGNATURE, 10)
    matrix, _ = schema.encode(schema.from_json(json.dumps(GOOD | {"level": 2.0}).encode()))
    assert matrix[0, 2] == 2


def test_rows_are_encoded_as_tables_are(bare_project: Project) -> None:
    signature = project_signature()
    rows = contract.check(example_rows().head(200), problem.CONTRACT, "the example")[signature.names]
    plain = rows.astype(object).where(rows.notna(), None)
    values = [[each.item() if hasattr(each, "item") else each for each in row] for row in plain.to_numpy()]
    by_rows = row_encoder(signature.features)(values)
    np.testing.assert_array_equal(by_rows, encode(rows, signature.features))


def test_the_example_is_typical_and_nobody() -> None:
    statistics = {
        "colour": {"counts": {"red": 3, "blue": 5}},
        "my size": {"edges": [0.0, 1.0, 2.0, 4.0], "counts": [10, 10, 10]},
        "level": {"counts": {"1": 9, "2": 1}},
    }
    example = Schema(SIGNATURE, 10).example({"features": statistics})
    assert example == {"colour": "blue", "my size": 1.0, "level": 1, "open": True}
    assert Schema(SIGNATURE, 10).example({}) == {"colour": "red", "my size": 0.0, "level": 1, "open": True}


# ------------------------------------------------------------------ predictions


def test_predictions_equal_the_artifact_s_own(client: Client) -> None:
    frame = pd.read_parquet("data/prepared/holdout.parquet").head(40)
    signature = signature_of(client.service.models.current.stable.predictor)
    plain = frame[signature.names].astype(object).where(frame[signature.names].notna(), None)
    rows = json.loads(json.dumps(plain.to_dict("records"), default=lambda value: value.item()))
    answer = client.post("/predict", rows)
    assert answer.status_code == 200
    expected = Predictor.load(MODEL).predict(frame)
    told = pd.DataFrame(answer.json()["predictions"])
    assert list(told) == list(expected)
    for name, column in expected.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(told[name], column, rtol=1e-6)
        else:
            assert told[name].tolist() == column.tolist()
    # One by one, in the event loop, the same as all together, in the worker thread.
    for place in (0, 39):
        alone = client.post("/predict", rows[place]).json()["predictions"]
        assert alone[0]["prediction"] == pytest.approx(answer.json()["predictions"][place]["prediction"])
    assert answer.headers["X-Model-Version"] == answer.json()["model_version"]
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"]


def test_every_column_is_guarded(client: Client) -> None:
    """For whatever columns the model has."""
    for feature in signature_of(client.service.models.current.stable.predictor).features:
        bad: list[Any] = [[1], {"a": 1}]
        if feature.kind == "number":
            bad += ["text", True, *([] if feature.maximum is None else [feature.maximum * 2 + 1])]
        else:
            bad += ["no such category", 10**30]
        if not feature.nullable:
            bad.append(None)
        for value in bad:
            answer = client.post("/predict", client.row | {feature.name: value})
            assert answer.status_code == 422, (feature.name, value)
            assert [each["field"] for each in answer.json()["details"]] == [feature.name]
        rest = {name: value for name, value in client.row.items() if name != feature.name}
        missing = client.post("/predict", rest)
        assert missing.json()["details"] == [{"row": 0, "field": feature.name, "problem": "is missing"}]
        if feature.nullable:
            assert client.post("/predict", client.row | {feature.name: None}).status_code == 200


def test_requests_are_bounded(client: Client) -> None:
    row = json.dumps(client.row).encode()
    limit = int(client.service.settings.maximum_body_mb * 1_000_000)

    def send(content: Any, **headers: str) -> httpx.Response:
        return client.send("POST", "/predict", content=content, headers={"content-type": "application/json"} | headers)

    async def endless() -> Any:
        for _ in range(2 * limit // 1000):
            yield b" " * 1000

    assert send(row).status_code == 200
    assert send(row + b" " * limit).status_code == 413
    assert send(endless()).status_code == 413
    assert send(row, **{"content-length": "100000000"}).status_code == 413
    assert send(row, **{"content-type": "text/plain"}).status_code == 415
    assert send(row, **{"content-type": "application/json; charset=latin-1"}).status_code == 415
    assert send(row, **{"content-type": "application/json; charset=UTF-8"}).status_code == 200
    assert send(row, **{"content-encoding": "gzip"}).status_code == 415
    rows = client.service.settings.maximum_rows + 1
    assert send(b"[" + b",".join([row] * rows) + b"]").status_code == 413
    assert client.service.load.half_received == 0
    assert client.metric("service_refused_rows_total") == 7


def test_an_overload_is_told(client: Client) -> None:
    client.service.load.pending = client.service.settings.maximum_pending + 1
    answer = client.post("/predict", client.row)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert client.get("/health/ready").status_code == 200, "probes are answered all the same"
    client.service.load = type(client.service.load)(half_received=10**12)

    async def in_parts() -> Any:
        yield b"{"
        yield b"}"

    headers = {"content-type": "application/json"}
    assert client.send("POST", "/predict", content=in_parts(), headers=headers).status_code == 503


def test_wrong_addresses_and_methods_are_told_in_the_same_form(client: Client) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/predict", 405), ("POST", "/health/live", 405)):
        answer = client.send(method, path)
        assert answer.status_code == status
        assert set(answer.json()) == {"error", "details", "request_id"}
    assert client.send("GET", "/predict").headers["Allow"] == "POST"
    assert client.send("PUT", "/metrics").headers["Allow"] == "GET, HEAD"


def test_a_request_keeps_its_name(client: Client) -> None:
    named = client.send("POST", "/predict", json=client.row, headers={"X-Request-ID": "order-17"})
    assert named.json()["request_id"] == named.headers["X-Request-ID"] == "order-17"
    for bad in ("a b", "a" * 200, ""):
        answer = client.send("POST", "/predict", json=client.row, headers={"X-Request-ID": bad})
        assert answer.headers["X-Request-ID"] not in (bad, "order-17")


def test_a_mistake_of_ours_shows_nothing_of_its_inside(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    client.service.metrics.answer = None  # type: ignore[assignment]
    answer = client.post("/predict", client.row)
    assert answer.status_code == 500
    assert "NoneType" not in answer.text
    assert "NoneType" in capsys.readouterr().err


def test_metrics_tell_what_happened(client: Client) -> None:
    model = client.service.models.current.stable
    for _ in range(3):
        client.post("/predict", [client.row, client.row])
    client.post("/predict", {})
    version = {"model_version": model.version}
    assert client.metric("service_requests_total", route="/predict", code="200") == 3
    assert client.metric("service_requests_total", route="/predict", code="422") == 1
    assert client.metric("service_request_seconds_count", route="/predict") == 4
    assert client.metric("service_rows_total", **version) == 6
    assert client.metric("service_model_seconds_count", **version) == 3
    assert client.metric("service_refused_rows_total") == 1
    assert client.metric("service_model_info", identity=model.identity, role="stable", **version) == 1
    for output in model.outputs:
        assert client.metric("service_score_count", output=output, **version) == 6
    if signature_of(model.predictor).classes:
        prediction = str(model.answers["prediction"].tolist()[0])
        assert client.metric("service_predictions_total", prediction=prediction, **version) == 6


# ------------------------------------------------------------------ protocols


def test_every_protocol_gives_the_same_prediction(client: Client) -> None:
    row = client.row
    expected = client.post("/predict", row).json()["predictions"]
    split = {"columns": list(row), "data": [list(row.values())]}
    in_json: list[tuple[str, Any]] = [
        ("/invocations", row),
        ("/invocations", [row]),
        ("/invocations", {"dataframe_split": split | {"index": [0]}}),
        ("/invocations", {"dataframe_records": [row], "params": {}}),
        ("/invocations", {"instances": [row]}),
        ("/invocations", {"instances": [list(row.values())]}),
        ("/invocations", {"inputs": {name: [value] for name, value in row.items()}}),
        ("/endpoints/any/invocations", {"inputs": [row]}),
        ("/v1/predict", {"instances": [row]}),
        ("/score", [row]),
        ("/score", {"input_data": split}),
        ("/score", {"input_data": [row]}),
    ]
    for path, content in in_json:
        answer = client.post(path, content)
        assert answer.json()["predictions"] == expected, (path, content, answer.text)
        if path != "/score":
            version, request_id = answer.headers["x-model-version"], answer.headers["x-request-id"]
            assert answer.json() == {"predictions": expected, "model_version": version, "request_id": request_id}
    header = ",".join(f'"{name}"' for name in row)
    line = ",".join("" if value is None else f'"{value}"' for value in row.values())
    answer = client.send(
        "POST", "/invocations", content=f"{header}\n{line}\n", headers={"content-type": "text/csv; charset=utf-8"}
    )
    assert answer.json()["predictions"] == expected, answer.text
    for path in ("/ping", "/v1", "/", "/health/live"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"dataframe_split": {"columns": 5, "data": []}}, "columns must be"),
        ({"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, "row 0 must be a list of 1 values"),
        ({"dataframe_split": {"columns": ["a"], "data": 5}}, "must be a list of rows"),
        ({"inputs": {"a": [1], "b": [1, 2]}}, "different numbers of rows"),
        ({"instances": [[1], {}]}, "must be a list of"),
        ({"instances": [], "inputs": []}, "only one of them"),
        ({"instances": [], "more": 1}, "more, which is not known"),
        ({"instances": "text"}, "must be an object"),
    ],
)
def test_wrappers_that_are_wrong_are_explained(client: Client, content: Any, text: str) -> None:
    answer = client.post("/invocations", content)
    assert answer.status_code == 422
    assert text in answer.json()["error"]


@pytest.mark.parametrize(
    ("content", "status", "text"),
    [
        (b"", 400, "empty"),
        (b"a,b\n1\n", 422, "Row 0 has 1 fields"),
        (b"a,a\n1,2\n", 422, "named twice"),
        (b'a\n"', 400, "not CSV"),
        (b"\xff\xff", 400, "not UTF-8"),
        (b"a\n", 422, "no rows"),
        (b"a\n1\n", 422, "is missing"),
    ],
)
def test_csv_that_is_wrong_is_explained(client: Client, content: bytes, status: int, text: str) -> None:
    answer = client.send("POST", "/invocations", content=content, headers={"content-type": "text/csv"})
    assert (answer.status_code, text in answer.json()["error"]) == (status, True), answer.text


def test_kserves_clients_find_the_model(client: Client) -> None:
    named = {"SERVE_MODEL_NAME": "churn-by-another-name"}
    client = Client(Service(client.service.models, client.service.settings, environment=named))
    expected = client.post("/predict", client.row).json()["predictions"]
    for name in (NAME, "churn-by-another-name"):
        assert client.get(f"/v1/models/{name}").json() == {"name": name, "ready": True}
        assert client.get(f"/v2/models/{name}/ready").json()["ready"] is True
        answer = client.post(f"/v1/models/{name}:predict", {"instances": [client.row]})
        assert answer.json() == {"predictions": expected}
    for path in ("/v1/models", "/v2/models"):
        assert client.get(path).json() == {"models": sorted({NAME, "churn-by-another-name"})}
    for path in (
        "/v1/models/other",
        "/v1/models/other:predict",
        f"/v1/models/{NAME}:explain",
        "/v2/models/other/ready",
    ):
        assert client.get(path).status_code == 404
    assert client.get(f"/v1/models/{NAME}:predict").status_code == 405
    assert client.post(f"/v1/models/{NAME}:predict", {"instances": []}).status_code == 422
    client.service.draining = True
    assert client.get(f"/v1/models/{NAME}").status_code == 503


def test_the_open_inference_protocol(client: Client) -> None:
    model = client.service.models.current.stable
    base = f"/v2/models/{NAME}"
    assert client.get("/v2").json()["name"] == NAME
    assert client.get("/v2/health/live").json() == {"live": True}
    for path in ("/v2/health/ready", f"{base}/ready", f"{base}/versions/{model.version}/ready"):
        assert client.get(path).json()["ready"] is True
    told = client.get(base).json()
    assert [each["name"] for each in told["inputs"]] == signature_of(model.predictor).names
    tensors = [
        {"name": each["name"], "shape": [2, 1], "datatype": each["datatype"], "data": [[client.row[each["name"]]]] * 2}
        for each in told["inputs"]
    ]
    expected = client.post("/predict", client.row).json()["predictions"][0]
    for path in (f"{base}/infer", f"{base}/versions/{model.version}/infer"):
        answer = client.post(path, {"id": "seven", "inputs": tensors}).json()
        assert (answer["model_name"], answer["model_version"], answer["id"]) == (NAME, model.version, "seven")
        assert {each["name"]: each["data"] for each in answer["outputs"]} == {k: [v, v] for k, v in expected.items()}
        assert [each["datatype"] for each in answer["outputs"]] == [each["datatype"] for each in told["outputs"]]
    some = client.post(f"{base}/infer", {"inputs": tensors, "outputs": [{"name": "prediction"}]}).json()
    assert [each["name"] for each in some["outputs"]] == ["prediction"]
    nullable = [each.name for each in signature_of(model.predictor).features if each.nullable]
    fewer = [each for each in tensors if each["name"] not in nullable]
    assert client.post(f"{base}/infer", {"inputs": fewer}).status_code == 200

    wrong: list[Any] = [
        5,
        {"inputs": []},
        {"inputs": [{"shape": [1], "datatype": "FP32", "data": [1]}]},
        {"inputs": [tensors[0] | {"datatype": "FP31"}]},
        {"inputs": [tensors[0] | {"datatype": {}}]},
        {"inputs": [tensors[0] | {"name": []}]},
        {"inputs": [tensors[0] | {"shape": {}}]},
        {"inputs": tensors, "outputs": [{"name": {}}]},
        {"inputs": [tensors[0] | {"shape": [3]}]},
        {"inputs": [tensors[0] | {"data": None}]},
        {"inputs": [tensors[0], tensors[0]]},
        {"inputs": tensors, "outputs": [{"name": "nothing"}]},
        {"inputs": tensors, "outputs": 5},
    ]
    for content in wrong:
        answer = client.post(f"{base}/infer", content)
        assert (answer.status_code, set(answer.json())) == (422, {"error"}), (content, answer.text)
    binary = {"Inference-Header-Content-Length": "10"}
    assert client.send("POST", f"{base}/infer", json={}, headers=binary).status_code == 415
    for path in ("/v2/models/other", f"{base}/versions/99", f"{base}/nothing"):
        assert client.get(path).status_code == 404


def test_the_document_describes_what_is_answered(client: Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    model = client.service.models.current.stable
    row = document["components"]["schemas"]["Row"]
    assert row["required"] == signature_of(model.predictor).names
    for path, methods in document["paths"].items():
        if "get" in methods:
            assert client.get(path).status_code == 200, path
        else:
            for example in methods["post"]["requestBody"]["content"]["application/json"]["examples"].values():
                answer = client.post(path, example["value"])
                assert answer.status_code == 200, (path, answer.text)
                told = methods["post"]["responses"]["200"]["content"]["application/json"]["example"]
                assert set(told) == set(answer.json())


# ------------------------------------------------------------------ which model answers


def of_a_class_that_is_gone(signature: Signature) -> artifact.ModelFile:
    """Return a Python model whose class the running code does not have, as where a service is older than its model."""
    module = ModuleType("churn.gone")
    exec("class Gone:\n    pass", module.__dict__)  # noqa: S102
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        return artifact.as_python(module.Gone())


def test_a_deployment_is_followed_and_a_broken_one_refused(project: Project) -> None:
    good, other = place(), place(constant(0.25))
    deploy(good)
    client = make(Path("deployments/test"))
    service = client.service
    assert service.models.current.stable.version == good[:4]
    asyncio.run(service.refresh())
    assert client.metric("service_swap_failures_total") == 0

    deploy(other)
    asyncio.run(service.refresh())
    ready = client.get("/health/ready").json()
    assert ready["stable"] == {"version": other[:4], "identity": other}
    assert client.post("/predict", client.row).headers["X-Model-Version"] == other[:4]
    moment = client.metric("service_model_registered_timestamp_seconds", model_version=other[:4])
    assert moment == pd.Timestamp("2026-01-01", tz="UTC").timestamp()

    damaged = Path("deployments/models") / good / "signature.json"
    damaged.write_text(damaged.read_text() + " ")
    attempts: list[tuple[Callable[[], Any], str]] = [
        (lambda: deploy(good), "altered"),
        (lambda: deploy("f" * 64), "There is no model"),
        (lambda: deploy(place(constant(float("nan")))), "not finite"),
        (lambda: deploy(place(of_a_class_that_is_gone)), "ModuleNotFoundError: No module named 'churn.gone'"),
        (lambda: Path("deployments/test/deployment.json").write_text("{"), "not a deployment"),
        (lambda: Path("deployments/test/deployment.json").unlink(), "deployment.json"),
    ]
    for number, (attempt, text) in enumerate(attempts, 1):
        attempt()
        asyncio.run(service.refresh())
        told = client.get("/health/ready").json()
        assert text in told["problem"]
        assert told["stable"]["identity"] == other
        assert client.metric("service_swap_failures_total") == number
        asyncio.run(service.refresh())
        assert client.metric("service_swap_failures_total") == number, "it is told once"

    deploy(other)
    asyncio.run(service.refresh())
    service.close()


def test_a_canary_gets_its_share_and_the_stable_model_catches_it(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    stable = place()
    signature = signature_of(Predictor.load(MODEL))
    number = next(each for each in signature.features if each.kind == "number")
    limit = load(MODEL, None, None, 1).example[number.name]
    deploy(stable, place(constant(0.25, above=limit)), share=0.25)
    client = make(Path("deployments/test"))
    versions = [client.post("/predict", client.row).headers["X-Model-Version"] for _ in range(40)]
    canary = client.get("/health/ready").json()["canary"]
    assert canary["share"] == 0.25
    assert versions.count(canary["version"]) == 10
    # Now it answers NaN: the stable model answers in its place, and the canary is charged.
    higher = number.maximum if number.maximum is not None else limit + 1
    versions = [
        client.post("/predict", client.row | {number.name: higher}).headers["X-Model-Version"] for _ in range(40)
    ]
    assert set(versions) == {stable[:4]}
    assert client.metric("service_model_errors_total", model_version=canary["version"]) == 10
    assert capsys.readouterr().err.count("canary failed") == 1, "the log is not flooded"
    # Whose fault a bad request is, is plain.
    for _ in range(8):
        assert client.post("/predict", {}).status_code == 422
    assert client.metric("service_model_errors_total", model_version=canary["version"]) == 10
    # Asked for by its version, it answers every request.
    tensors = client.get("/openapi.json").json()["paths"][f"/v2/models/{NAME}/infer"]["post"]["requestBody"]
    body = tensors["content"]["application/json"]["examples"]["tensors"]["value"]
    answer = client.post(f"/v2/models/{NAME}/versions/{canary['version']}/infer", body)
    assert answer.json()["model_version"] == canary["version"]
    for tensor in body["inputs"]:
        if tensor["name"] == number.name:
            tensor["data"] = [higher]
    answer = client.post(f"/v2/models/{NAME}/versions/{canary['version']}/infer", body)
    assert (answer.status_code, set(answer.json())) == (500, {"error"}), "no other version answers in its name"
    client.service.close()


def test_a_stable_model_that_fails_is_told(project: Project) -> None:
    number = next(each for each in signature_of(Predictor.load(MODEL)).features if each.kind == "number")
    limit = load(MODEL, None, None, 1).example[number.name]
    stable, canary = place(constant(0.25, above=limit)), place(constant(0.5, above=limit))
    deploy(stable, canary, share=0.5)
    client = make(Path("deployments/test"))
    higher = number.maximum if number.maximum is not None else limit + 1
    for _ in range(4):
        answer = client.post("/predict", client.row | {number.name: higher})
        assert answer.status_code == 500
        assert f"version {stable[:4]}, could not answer: it answered a number that is not finite" in answer.text
    assert client.metric("service_model_errors_total", model_version=stable[:4]) == 4
    assert client.metric("service_refused_rows_total") == 0, "the request was good"
    client.service.close()


def test_a_canary_that_does_not_load_does_not_keep_the_service_from_starting(project: Project) -> None:
    deploy(place(), "e" * 64)
    client = make(Path("deployments/test"))
    told = client.get("/health/ready").json()
    assert (told["ready"], told["canary"]) == (True, None)
    assert "There is no model" in told["problem"]
    client.service.close()


def test_a_model_in_python_answers_in_the_worker_thread(project: Project) -> None:
    from twoloops.inner_loop.train import fit, read_parts

    signature = signature_of(Predictor.load(MODEL))
    estimator = fit(params.load(), read_parts()[0], signature)
    artifact.write(MODEL, artifact.as_python(estimator), signature, {})
    client = make(MODEL)
    assert client.service.models.current.stable.rows_in_loop == 0
    assert client.post("/predict", client.row).status_code == 200
    client.service.close()


def test_where_the_model_is_found(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate(MODEL) == MODEL
    assert locate(None, {"AZUREML_MODEL_DIR": "artifacts"}) == MODEL
    with pytest.raises(ProjectError, match="neither a deployment folder"):
        locate(Path("data"))
    with pytest.raises(ProjectError, match="no model in it"):
        locate(None, {"AZUREML_MODEL_DIR": "data"})
    with pytest.raises(ProjectError, match="Nothing is deployed"):
        locate(None, {})
    monkeypatch.setattr(service_models, "SAGEMAKER_MODEL", MODEL)
    assert locate(None, {}) == MODEL


def test_an_artifact_is_served_as_the_version_that_the_environment_names(project: Project) -> None:
    said = {"MODEL_VERSION": "7", "MODEL_IDENTITY": artifact.identity(MODEL), "MODEL_REGISTERED_AT": "2026-01-31"}
    models = Models(MODEL, 10, said)
    models.start()
    stable = models.current.stable
    assert (stable.version, stable.identity, stable.registered_at) == tuple(said.values())
    with pytest.raises(ProjectError, match="and MODEL_IDENTITY names 'another'"):
        Models(MODEL, 10, said | {"MODEL_IDENTITY": "another"}).start()
    models = Models(MODEL, 10, {})
    models.start()
    assert models.current.stable.version == artifact.identity(MODEL)[:12]


def test_sagemaker_brings_the_identifier_of_a_request_in_its_own_header(client: Client) -> None:
    header = {"X-Amzn-SageMaker-Custom-Attributes": "order-7"}
    assert client.send("POST", "/invocations", json=client.row, headers=header).json()["request_id"] == "order-7"
    answer = client.send("POST", "/invocations", json=client.row, headers=header | {"X-Request-ID": "mine"})
    assert answer.json()["request_id"] == "mine"
    bad = {"X-Amzn-SageMaker-Custom-Attributes": "two words"}
    assert "words" not in client.send("POST", "/invocations", json=client.row, headers=bad).json()["request_id"]


def test_leaving_is_told(client: Client) -> None:
    client.service.draining = True
    assert client.get("/health/ready").status_code == 503
    assert client.get(f"/v2/models/{NAME}/ready").status_code == 503
    answer = client.post("/predict", client.row)
    assert (answer.status_code, answer.headers["Connection"]) == (200, "close")


# ------------------------------------------------------------------ captures


def capturing(client: Client, folder: Path, **settings: Any) -> Capture:
    service = client.service
    options: dict[str, Any] = {"rows": 1000, "seconds": 3600.0, "days": 30} | settings
    capture = Capture(folder, service.metrics, lambda: service.models.current.stable, **options)
    service.capture = capture
    return capture


def captured(folder: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))], ignore_index=True)


def quality(folder: Path) -> dict[str, int]:
    import pyarrow.parquet as pq

    found = [json.loads(pq.read_metadata(path).metadata[b"quality"]) for path in sorted(folder.glob("*.parquet"))]
    return {name: sum(each[name] for each in found) for name in ("refused", "dropped")}


def test_what_was_answered_is_kept(client: Client, tmp_path: Path) -> None:
    capture = capturing(client, tmp_path)
    model = client.service.models.current.stable
    signature = model.predictor.signature
    along = {name: f"the {name}" for name in (signature.entity, *signature.personal)}
    expected = client.post("/predict", [client.row | along, client.row]).json()
    client.post("/predict", [{}, {}])
    before = time.time()
    capture.write()
    kept = captured(tmp_path)
    assert kept["request_id"].tolist() == [expected["request_id"]] * 2
    assert set(kept["model_version"]) == {model.version}
    assert set(kept["model"]) == {model.identity}
    assert kept["entity"].tolist()[0] == (None if signature.entity in signature.personal else along[signature.entity])
    assert pd.isna(kept["entity"][1])
    assert kept["captured_at"].dt.tz is not None
    assert abs(kept["captured_at"][0].timestamp() - before) < 60
    for name, value in client.row.items():
        column = kept[f"feature.{name}"]
        same = column[0] == (str(value) if isinstance(value, str) else pytest.approx(value))
        assert column.isna()[0] if value is None else same or column[0] == str(value)
    np.testing.assert_allclose(
        kept[[f"score.{name}" for name in model.outputs]].iloc[[0]], model.scores(encoded(client)), rtol=1e-6
    )
    for name in signature.personal:
        assert f"the {name}" not in kept.to_csv()
    assert quality(tmp_path) == {"refused": 2, "dropped": 0}
    assert client.metric("service_captured_rows_total", outcome="kept") == 2


def encoded(client: Client) -> np.ndarray:
    schema = client.service.models.current.stable.schema
    return schema.encode(schema.from_objects(client.row))[0]


def test_refused_rows_are_told_without_any_row(client: Client, tmp_path: Path) -> None:
    capture = capturing(client, tmp_path)
    for _ in range(5):
        client.post("/predict", [{}] * 5)
    capture.write()
    capture.write()
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    assert len(captured(tmp_path)) == 0
    assert quality(tmp_path) == {"refused": 5, "dropped": 0}


def test_files_are_rotated_cleaned_and_end_whole(client: Client, tmp_path: Path) -> None:
    days = [tmp_path / f"20200101T000000.000000Z-old-{day}.parquet" for day in range(40)]
    for day, path in enumerate(days):
        path.touch()
        os.utime(path, (day * 86_400, day * 86_400))
    old = days[0]
    kept = tmp_path / "mine.parquet"
    kept.touch()
    os.utime(kept, (0, 0))
    capture = capturing(client, tmp_path, rows=2)
    capture.start()
    for _ in range(7):
        client.post("/predict", client.row)
    client.service.close()
    assert not old.exists()
    for path in (kept, *tmp_path.glob("2020*")):
        path.unlink()
    assert len(captured(tmp_path)) == 7
    assert not list(tmp_path.glob(".*")), "no temporary file and no counters are left"


def test_a_burst_is_written_when_it_is_over(client: Client, tmp_path: Path) -> None:
    capturing(client, tmp_path, rows=40, seconds=3600).start()
    for _ in range(2):
        client.post("/predict", client.row)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("*.parquet")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(captured(tmp_path)) == 2
    client.service.close()


def test_what_does_not_fit_into_memory_is_dropped_and_counted(client: Client, tmp_path: Path) -> None:
    capture = capturing(client, tmp_path, rows=2)
    for _ in range(50):
        client.post("/predict", client.row)
    dropped = client.metric("service_captured_rows_total", outcome="dropped")
    assert dropped == 40
    capture.write()
    assert len(captured(tmp_path)) == 10
    assert quality(tmp_path)["dropped"] == 40


def test_a_disk_that_fails_is_told_once_and_tried_again(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = capturing(client, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", failing)
        for _ in range(3):
            assert client.post("/predict", client.row).status_code == 200
            capture.write()
    assert capsys.readouterr().err.count("captures cannot be written") == 1
    assert client.metric("service_captured_rows_total", outcome="dropped") == 3
    client.post("/predict", client.row)
    capture.write()
    assert "written again" in capsys.readouterr().err
    assert len(captured(tmp_path)) == 1
    assert quality(tmp_path)["dropped"] == 3


def failing(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_captures_that_cannot_begin_do_not_keep_the_service_from_answering(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    capture = capturing(client, tmp_path / "file" / "captures")
    assert client.post("/predict", client.row).status_code == 200
    capture.stop()
    assert client.metric("service_captured_rows_total", outcome="dropped") == 1


def test_a_clock_that_is_set_back_does_not_disturb_the_order(client: Client, tmp_path: Path) -> None:
    noon = 2_000_000_000.0
    names: list[str] = []
    for now in (noon, noon - 1000, noon - 999):
        # A process of its own each time: it goes on where the one before ended.
        capture = capturing(client, tmp_path, days=3650, clock=lambda now=now: now)
        client.post("/predict", client.row)
        capture.write()
        client.post("/predict", client.row)
        capture.stop()
        names += sorted(path.name for path in tmp_path.glob("*.parquet") if path.name not in names)
    assert len(names) == 6
    assert names == sorted(names)
    moments = [each.timestamp() for each in captured(tmp_path)["captured_at"]]
    assert moments == [noon, noon, noon - 1000, noon - 1000, noon - 999, noon - 999], "rows tell what the clock said"


def test_what_a_killed_process_held_is_counted(client: Client, tmp_path: Path) -> None:
    killed = capturing(client, tmp_path)
    client.post("/predict", [client.row] * 3)
    client.post("/predict", [{}] * 2)
    (tmp_path / f".20200101T000000.000000Z-{killed._unique}-9.parquet").touch()
    # While it lives, nobody takes its rows for lost.
    capturing(client, tmp_path).stop()
    assert client.metric("service_captured_rows_total", outcome="lost") == 0
    # What the system does to a killed process:
    killed._counters.release()
    assert killed._mapped
    killed._mapped.close()
    killed._held.close()
    after = capturing(client, tmp_path)
    assert client.metric("service_captured_rows_total", outcome="lost") == 3
    after.stop()
    assert quality(tmp_path) == {"refused": 2, "dropped": 3}
    assert not list(tmp_path.glob(".*"))


# ------------------------------------------------------------------ the process


def test_connections_are_bounded_and_ended_gently(project: Project) -> None:
    client = make(MODEL, client_timeout_seconds=0.4, drain_seconds=1)
    with running(client) as port:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as over_tcp:
            for _ in range(2):
                assert over_tcp.post("/predict", json=client.row).status_code == 200
            time.sleep(1)
            assert over_tcp.get("/health/ready").status_code == 200, "a connection may be idle"
        assert receive(port) == b""
        assert receive(port, b"no HTTP\r\n\r\n").startswith(b"HTTP/1.1 400 Bad Request")
        assert receive(port, b"GET / HTTP/1.1\r\n").startswith(b"HTTP/1.1 408 Request Timeout")
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        assert receive(port, head).startswith(b"HTTP/1.1 408 Request Timeout")
        long = b"X-Long: " + b"a" * 60_000 + b"\r\n"
        assert receive(port, b"GET / HTTP/1.1\r\n", long, long).startswith(b"HTTP/1.1 431")
        large = (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
        )
        assert receive(port, large, b" " * 1000).startswith(b"HTTP/1.1 413")
    assert client.service.draining
    assert client.service.load.pending == 0
    assert client.metric("service_requests_total", route="other", code="408") == 2
    client.service.close()


def test_where_it_listens() -> None:
    assert server.usual_port({}) == 8000
    assert server.usual_port({"AIP_HTTP_PORT": "8080"}) == 8080
    with pytest.raises(ProjectError, match="SAGEMAKER_BIND_TO_PORT is 'x'"):
        server.usual_port({"SAGEMAKER_BIND_TO_PORT": "x"})
    with server.listen("127.0.0.1", 0) as taken, pytest.raises(ProjectError, match="cannot listen on") as raised:
        server.listen("127.0.0.1", taken.getsockname()[1])
    assert "--port" in raised.value.hint


def test_nothing_heavy_is_imported() -> None:
    program = "import twoloops.service.server, twoloops.cli, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "pyarrow", "sklearn", "mlflow", "scipy", "onnx"} & set(loaded)


def test_a_bucket_holds_its_bound() -> None:
    metrics = Metrics(lambda: 0)
    for seconds in (0.001, 0.0011, 99.0):
        metrics.request("/predict", 200, seconds)
    text = metrics.text().decode()
    for bound, number in (("0.0005", 0), ("0.001", 1), ("0.0025", 2), ("10.0", 2), ("+Inf", 3)):
        line = 'service_request_seconds_bucket{le="' + bound + f'",route="/predict"}} {number}.0'
        assert line in text


def test_metrics_can_be_read_before_any_request() -> None:
    text = Metrics(lambda: 3).text().decode()
    assert "service_pending_requests 3.0" in text
    assert 'service_captured_rows_total{outcome="lost"} 0.0' in text
