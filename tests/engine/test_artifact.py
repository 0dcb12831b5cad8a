"""The artifact: written once, checked when loaded, the same answers in every form."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from twoloops import artifact, as_onnx, params, project_signature
from twoloops.artifact import ModelFile, Predictor
from twoloops.errors import ProjectError
from twoloops.inner_loop.train import check_parity, fit, read_parts
from twoloops.problems import problem as task
from twoloops.problems.tabular.encoding import encode
from twoloops.problems.tabular.signature import Feature, Signature

from tests.engine.support.project import Project

each_problem_type = pytest.mark.each_problem_type
FEATURES = (
    Feature(name="colour", kind="category", nullable=True, categories=("red", "blue")),
    Feature(name="size", kind="number", nullable=True),
)


@pytest.mark.parametrize("form", [dict, pd.DataFrame, pa.table])
def test_encoding_by_hand(form: type) -> None:
    table = form({"colour": ["blue", None, "red", "green"], "size": [1.0, 2.5, None, 4.0]})
    expected = np.array([[2, 1], [0, 2.5], [1, np.nan], [-1, 4]], dtype=np.float32)
    np.testing.assert_array_equal(encode(table, FEATURES), expected)


def test_what_cannot_be_encoded_is_named() -> None:
    with pytest.raises(ProjectError, match="needs the column 'size'"):
        encode({"colour": ["red"]}, FEATURES)
    with pytest.raises(ProjectError, match="'size' must hold numbers"):
        encode({"colour": ["red"], "size": ["large"]}, FEATURES)


@each_problem_type
def test_one_row_answers_as_in_a_crowd(finished: Project) -> None:
    predictor = Predictor.load(finished.folder / "artifacts/model")
    rows = pd.read_parquet(finished.folder / "data/prepared/holdout.parquet").head(20)
    alone = np.vstack([predictor.scores(rows.iloc[[place]]) for place in range(len(rows))])
    np.testing.assert_allclose(alone, predictor.scores(rows), rtol=1e-6, atol=1e-6)
    assert len(predictor.predict(rows)["prediction"]) == len(rows)


def test_only_what_is_listed_is_loaded(project: Project) -> None:
    folder = Path("artifacts/model")
    for name in ("model.skops", "notes.txt", "folder/file"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"something else")
        with pytest.raises(ProjectError, match="does not list: " + name.partition("/")[0]):
            Predictor.load(folder)
        (folder / name).unlink()
        if "/" in name:
            (folder / "folder").rmdir()
    Predictor.load(folder)


def rewrite_manifest(folder: Path, change: Callable[[dict[str, str]], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest["files"])
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_manifest_lists_one_model_and_no_paths(project: Project) -> None:
    folder = Path("artifacts/model")
    original = (folder / "manifest.json").read_bytes()
    digest = hashlib.sha256(b"x").hexdigest()
    for name in ("../outside", "model.skops", "a/b"):
        if "/" not in name:
            (folder / name).write_bytes(b"x")
        rewrite_manifest(folder, lambda files, name=name: files.update({name: digest}))  # type: ignore[misc]
        with pytest.raises(ProjectError, match="does not list one signature and one model"):
            Predictor.load(folder)
        (folder / "model.skops").unlink(missing_ok=True)
        (folder / "manifest.json").write_bytes(original)
    rewrite_manifest(folder, lambda files: files.pop("model.onnx"))
    with pytest.raises(ProjectError, match="does not list one signature and one model"):
        Predictor.load(folder)
    for content in ("", "[]", "{", '{"format_version": 1}', '{"format_version": 1, "files": 5}'):
        (folder / "manifest.json").write_text(content)
        with pytest.raises(ProjectError, match="is not a manifest"):
            Predictor.load(folder)


def test_the_bytes_that_were_hashed_are_loaded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes a file between two reads of it changes nothing: there is one."""
    folder = Path("artifacts/model")
    read: list[str] = []
    original = Path.read_bytes

    def note(path: Path) -> bytes:
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", note)
    monkeypatch.setattr(Path, "read_text", lambda path, **_: pytest.fail(f"{path} is read in another way"))
    Predictor.load(folder)
    assert sorted(read) == sorted(path.name for path in folder.iterdir())


def test_the_registry_gives_what_was_registered(promoted: Project) -> None:
    """The files of a version were replaced by another artifact, whole in itself."""
    from twoloops import registry

    version = registry.find_in_use()
    with registry.mlflow.connection(registry.tracking_uri()) as client:
        source = client.get_model_version_download_uri(registry.model_name(), version.number)
    place = Path(source.removeprefix("file://")) if "://" in source else Path(source)
    copy = Path("copy")
    shutil.copytree(place, copy)
    try:
        predictor = Predictor.load(version.uri)
        name = next(each for each in ("model.onnx", "model.skops") if (place / each).exists())
        model = ModelFile(name, (place / name).read_bytes())  # type: ignore[arg-type]
        artifact.write(Path("another"), model, predictor.signature, {})
        shutil.rmtree(place)
        shutil.copytree("another", place)
        with pytest.raises(ProjectError, match="but the registry holds"):
            Predictor.load(version.uri)
    finally:  # other tests use it
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(copy, place)


@pytest.mark.parametrize("damage", ["altered", "missing", "other format", "nothing"])
def test_a_damaged_artifact_is_refused(project: Project, damage: str) -> None:
    folder = Path("artifacts/model")
    if damage == "altered":
        (folder / "model.onnx").write_bytes(b"something else")
    elif damage == "missing":
        (folder / "reference.json").unlink()
    elif damage == "other format":
        (folder / "manifest.json").write_text('{"format_version": 0, "files": {}}')
    else:
        (folder / "manifest.json").unlink()
    with pytest.raises(ProjectError) as raised:
        Predictor.load(folder)
    assert "rain" in raised.value.hint


@each_problem_type
def test_a_python_model_answers_like_the_graph(project: Project) -> None:
    checked = params.load()
    signature = project_signature()
    train_rows, holdout = read_parts()
    estimator = fit(checked, train_rows, signature)
    python = Predictor(artifact.as_python(estimator), signature)
    expected = task.answer(estimator, task.encode(holdout, signature), signature)
    np.testing.assert_allclose(python.scores(holdout), expected)

    identity = artifact.write(Path("artifacts/model"), artifact.as_python(estimator), signature, {})
    loaded = Predictor.load("artifacts/model")
    assert loaded.identity == identity
    np.testing.assert_allclose(loaded.scores(holdout), expected)


def test_a_python_model_with_foreign_code_is_refused(bare_project: Project) -> None:
    import subprocess

    import skops.io

    signature = project_signature()
    content = skops.io.dumps(subprocess.Popen)
    with pytest.raises(ProjectError, match=r"subprocess\.Popen"):
        Predictor(ModelFile("model.skops", content), signature)


def test_an_estimator_without_a_graph_form_tells_the_other_way(bare_project: Project) -> None:
    from sklearn.base import BaseEstimator

    signature = project_signature()
    with pytest.raises(ProjectError, match="cannot become an ONNX graph") as raised:
        as_onnx(BaseEstimator(), signature)
    assert "as_python" in raised.value.hint


def test_any_name_of_a_column_can_be_converted() -> None:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names = ["mean radius", "features", "features.matrix", "größe", "a/b"]
    features = tuple(Feature(name=name, kind="number", nullable=False) for name in names)
    signature = Signature(task="regression", features=features, entity="id", event_time=None, target="y")
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, len(names))), columns=names).astype("float32")
    scaled = make_column_transformer((StandardScaler(), names))
    estimator = make_pipeline(scaled, LinearRegression()).fit(frame, frame.sum(axis=1))
    shipped = Predictor(as_onnx(estimator, signature), signature)
    np.testing.assert_allclose(shipped.scores(frame)[:, 0], estimator.predict(frame), atol=1e-5)


@pytest.mark.parametrize("last", ["HistGradientBoostingClassifier", "RandomForestClassifier", "LogisticRegression"])
def test_trees_read_codes_themselves_and_answer_the_same(bare_project: Project, last: str) -> None:
    import onnx
    from sklearn import ensemble, linear_model
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    random = np.random.default_rng(0)
    codes = random.integers(0, 4, (400, 2))
    frame = pd.DataFrame(
        {"a": random.normal(size=400), "colour": codes[:, 0], "b": random.normal(size=400), "shape": codes[:, 1]}
    ).astype("float32")
    target = ((frame["colour"] == 2) ^ (frame["a"] > 0) ^ (frame["shape"] == 0)).astype(int)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer((encoder, ["colour", "shape"]), ("passthrough", ["b", "a"]))
    chosen = getattr(ensemble, last, None) or getattr(linear_model, last)
    estimator = make_pipeline(columns, chosen()).fit(frame, target)
    features = tuple(Feature(name=name, kind="number", nullable=False) for name in frame.columns)
    signature = Signature(task=task.name, features=features, entity="id", event_time=None, target="y", classes=(0, 1))
    file = as_onnx(estimator, signature, zipmap=False)
    steps = [node.op_type for node in onnx.load_from_string(file.content).graph.node]
    assert (steps == ["TreeEnsembleClassifier"]) == (chosen is not linear_model.LogisticRegression)
    unknown = frame.assign(colour=np.float32(-1), shape=np.float32(9))
    for rows in (frame, unknown):
        np.testing.assert_allclose(
            Predictor(file, signature).scores(rows), estimator.predict_proba(rows.astype("float32")), atol=1e-5
        )


def test_a_graph_that_cannot_be_loaded_tells_the_other_way(bare_project: Project) -> None:
    signature = project_signature()
    with pytest.raises(ProjectError, match="cannot load the graph") as raised:
        Predictor(ModelFile("model.onnx", b"no graph"), signature)
    assert "as_python" in raised.value.hint


def test_parity_is_demanded() -> None:
    fitted = np.array([[0.0], [1000.0]])
    assert check_parity(np.array([[0.0], [1000.001]]), fitted, 1e-5) == pytest.approx(1e-6)
    assert check_parity(np.array([[0.0005], [1000.0]]), fitted, 1e-5) == pytest.approx(1e-6)
    with pytest.raises(ProjectError, match=r"differ by up to 0\.1"):
        check_parity(np.array([[0.3], [0.2]]), np.array([[0.2], [0.2]]), 1e-5)
    with pytest.raises(ProjectError, match="1 holdout rows with NaN"):
        check_parity(np.array([[np.nan], [1.0]]), fitted, 1e-5)
