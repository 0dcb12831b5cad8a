"""Where models are registered."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from twoloops import artifact, registry
from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.registry import mlflow

from tests.engine.support.project import Project


def test_another_registry_gets_the_model_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.place() == "beside params.yaml"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert registry.place() == "beside params.yaml"
    places = set()
    for login in ("one", "another"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://{login}@registry.invalid")
        places.add(registry.place())
    assert len(places) == 1
    assert "beside params.yaml" not in places


@pytest.mark.parametrize("address", ["models:/churn@champion", "models:/churn/1"])
def test_a_model_is_addressed_by_its_number_or_an_alias(promoted: Project, address: str) -> None:
    with registry.download(address) as folder:
        assert artifact.identity(folder) == artifact.identity(paths().shipped)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("models:/churn@nobody", "No version of churn has the alias 'nobody'"),
        ("models:/churn", "no address of a registered model"),
        ("models:/churn/first", "no address of a registered model"),
        ("models:/churn/99", "did not do what was asked"),
    ],
)
def test_an_address_of_no_model_is_told(promoted: Project, address: str, words: str) -> None:
    with pytest.raises(ProjectError, match=words) as raised, registry.download(address):
        pass
    assert raised.value.hint


@pytest.mark.parametrize(
    "name", ["q?a", "50%25 x", "feature%2Fx", "a%20b", "\N{LATIN SMALL LETTER U WITH DIAERESIS}#b"]
)
def test_a_registry_lies_in_its_project_whatever_the_folder_is_called(
    name: str, bare_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = bare_project.folder.parent
    (around / "rows.txt").write_text("model")
    bare_project.folder.rename(around / name)
    monkeypatch.chdir(around / name)
    run = registry.log_run({}, {"one": 1.0}, {}, {around / "rows.txt": registry.ARTIFACT})
    version = registry.create_version(run, {})
    registry.set_alias(registry.CHAMPION, version)
    found = registry.find(registry.CHAMPION)
    assert found is not None
    with registry.download(found.uri) as folder:
        assert [path.read_text() for path in folder.iterdir()] == ["model"]
    assert (around / name / "mlflow.db").exists()
    assert {path.name for path in around.iterdir()} == {name, "rows.txt"}


def test_a_registry_that_can_only_be_read_is_told_in_words(
    promoted: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    version = registry.get("1")
    with mlflow.connection(registry.tracking_uri()) as client:
        store = client._get_registry_client().store

        def refuses(*_: object, **__: object) -> None:
            raise OperationalError("INSERT", {}, Exception("attempt to write a readonly database"))

        monkeypatch.setattr(store.engine.dialect, "do_execute", refuses)
    with pytest.raises(ProjectError, match="did not do what was asked"):
        registry.set_tag(version, "note", "x")
    assert not [record for record in caplog.records if record.exc_info], "no traceback is printed"


def test_a_disk_that_is_full_while_the_registry_is_made_is_told_in_words(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths().database.unlink()

    def refuse(database: Path) -> None:
        raise OperationalError("CREATE TABLE jobs", {}, Exception("database or disk is full"))

    monkeypatch.setattr(mlflow, "_make", refuse)
    with pytest.raises(ProjectError, match=r"The registry at sqlite:.* disk is full") as told:
        registry.log_run({}, {}, {}, {})
    assert "the disk has room" in str(told.value.hint)


CUT_OFF = """
import os, sys
from mlflow.store.db import utils
from mlflow.store.tracking import sqlalchemy_store
from twoloops import registry
from twoloops.registry import mlflow

def stop(engine):
    utils.InitialBase.metadata.create_all(engine)
    os._exit(9)

if "stop" in sys.argv:
    utils._initialize_tables = stop
with mlflow.connection(registry.tracking_uri()) as client:
    print(len(client.search_registered_models()))
"""


@pytest.mark.slow
def test_a_registry_that_was_cut_off_while_it_was_made_is_made_again(project: Project) -> None:
    paths().database.unlink()
    words = [sys.executable, "-c", CUT_OFF]
    assert subprocess.run([*words, "stop"], check=False).returncode == 9
    left = list(Path().glob("mlflow.db*"))
    assert left
    assert paths().database not in left
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "0\n"
    assert paths().database.is_file()
