"""The command: quick, explaining, clear about what went wrong, and the same from every folder of a project."""

import errno
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from twoloops import cli, config, registry
from twoloops.errors import ProjectError

from tests.engine.support.project import RAW, Project, begin_project, prepare_graph
from tests.engine.support.verbs import call

COMMAND = [sys.executable, "-m", "twoloops"]
STAGES = ["prepare", "train", "evaluate", "refit", "register"]
Main = Callable[..., int]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Iterator[Main]:
    """Return what runs the command as a program does, in the working folder, and returns its exit code."""
    here = logging.getLogger().handlers

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["churn", *words])
        with pytest.raises(SystemExit) as raised:
            cli.main()
        return int(raised.value.code or 0)

    yield run
    logging.getLogger().handlers = here
    logging.getLogger("twoloops").setLevel(logging.NOTSET)


def verbs() -> set[str]:
    callbacks = [each.callback for each in cli.command(cli.rooms()).registered_commands]
    return {each.__name__.replace("_", "-") for each in callbacks if each}


def test_help_teaches_every_verb(bare_project: Project) -> None:
    listed = call("--help").output
    for verb in verbs():
        assert verb in listed
        if verb != "update-template":  # it asks the template's newest release
            assert call(verb, "--help").exit_code == 0


def test_help_loads_no_heavy_library(bare_project: Project) -> None:
    heavy = {"pandas", "numpy", "sklearn", "mlflow", "pydantic", "dvc"}
    code = "import sys; from twoloops import cli; cli.command(cli.rooms()); print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(answer.stdout.split())


def test_a_project_has_the_verbs_of_what_it_chose_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    choices: dict[str, dict[str, Any]] = {
        "both": {},
        "batch": {"serving": ["batch"], "environments": ["production"]},
        "cloud": {"platform": "aws", "aws": {"account": "123456789012", "region": "eu-central-1"}},
    }
    # In one process, twice: what was loaded for one project is no verb of another.
    for _ in range(2):
        for name, changes in choices.items():
            monkeypatch.chdir(begin_project(tmp_path / name, "classification").folder)
            Project(Path()).configure(**changes)
            found[name] = verbs()
    assert {"serve", "deploy", "invoke", "status", "score", "stop"} <= found["both"]
    assert not {"infrastructure", "image", "login"} & found["both"]
    assert "score" in found["batch"]
    assert not {"serve", "deploy", "invoke", "status", "stop"} & found["batch"]
    assert {"infrastructure", "image", "serve", "score"} <= found["cloud"]


def test_the_verbs_in_a_row(project: Project) -> None:
    for verb in ("prepare", "train", "evaluate", "refit", "register", "promote"):
        told = call(verb)
        assert told.exit_code == 0, told.output
        assert "Next: uv run" in told.output
    told = call("predict", "data/raw/rows.parquet", "out.csv")
    assert "predictions by" in told.output


@pytest.mark.parametrize("verb", ["prepare", "train", "evaluate", "refit", "register", "promote", "tune", "staleness"])
def test_json_is_one_document(promoted: Project, verb: str) -> None:
    answer = call(verb, "--json")
    if answer.exit_code == 0:
        assert isinstance(json.loads(answer.stdout), dict)
    else:
        assert isinstance(answer.exception, ProjectError)


def test_a_red_verdict_exits_with_2_and_says_why(project: Project) -> None:
    project.set(gate__minimum_gain_over_baseline=1e9)
    told = call("evaluate")
    assert told.exit_code == 2
    assert "Verdict: red" in told.output
    assert "It is missed by" in told.output


def test_an_error_is_told_in_words(bare_project: Project) -> None:
    Path("params.yaml").unlink()
    answer = subprocess.run([*COMMAND, "prepare"], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith("Error: There is no params.yaml")
    assert "What to do:" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_where_there_is_no_project_it_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main("train") == 1
    assert capsys.readouterr().err.startswith("Error: There is no project in")


def test_simulate_never_replaces_a_file_unasked(bare_project: Project) -> None:
    bare_project.set(data__source=RAW.as_posix())
    assert call("simulate", "--rows", "60").exit_code == 0
    with pytest.raises(ProjectError, match="exists"):
        call("simulate", catch_exceptions=False)
    assert call("simulate", "--force", "--rows", "50").exit_code == 0
    assert len(bare_project.rows()) == 50
    with pytest.raises(ProjectError, match="is a URL"):
        call("simulate", "s3://bucket/rows.parquet", catch_exceptions=False)


def test_run_wants_data_and_a_repository(project: Project) -> None:
    for folder in ("src/churn", "engine/src"):
        Path(folder).mkdir(parents=True)
    Path("uv.lock").touch()
    with pytest.raises(ProjectError, match="git repository"):
        call("run", catch_exceptions=False)
    project.set(data__source="nothing.parquet")
    with pytest.raises(ProjectError, match="There is no data at nothing"):
        call("run", catch_exceptions=False)


@pytest.mark.slow
def test_the_graph_runs_what_changed_and_nothing_else(project: Project) -> None:
    prepare_graph(project)

    def graph() -> str:
        answer = call("run")
        assert answer.exit_code == 0, (answer.output, answer.exception)
        return answer.stdout

    first = graph()
    assert [f"{stage}:\n" in first for stage in STAGES] == [True] * len(STAGES)
    assert "Nothing has changed" in graph()
    assert subprocess.run([sys.executable, "-m", "dvc", "status", "--quiet"], check=False).returncode == 0
    project.set(gate__confidence=0.9)
    third = graph()
    assert [f"{stage}:\n" in third for stage in STAGES] == [False, False, True, True, True]


def test_the_stages_of_the_graph_are_verbs(bare_project: Project) -> None:
    graph = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert list(graph) == STAGES
    assert [stage["cmd"].split() for stage in graph.values()] == [["churn", stage] for stage in STAGES]
    assert set(STAGES) <= verbs()


# ------------------------------------------------------------------ from another folder


def test_paths_are_meant_from_where_the_user_is(
    project: Project, monkeypatch: pytest.MonkeyPatch, main: Main, tmp_path: Path
) -> None:
    below = project.folder / "notebooks/first"
    below.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere.csv"
    for words, written in (
        (["predict", "../../data/raw/rows.parquet", "out.csv", "--model", "../../artifacts/model"], below / "out.csv"),
        (["predict", "../../data/raw/rows.parquet", str(elsewhere), "--model", "../../artifacts/model"], elsewhere),
        (["simulate", "some.parquet", "--rows", "30"], below / "some.parquet"),
        (["score", "some.parquet", "scored", "--model", "../../artifacts/model"], below / "scored/manifest.json"),
        # What params.yaml names is meant from the project's folder, wherever the user is.
        (["prepare"], project.folder / "data/prepared/train.parquet"),
    ):
        monkeypatch.chdir(below)
        written.unlink(missing_ok=True)
        assert main(*words) == 0, words
        assert written.exists(), words
    monkeypatch.chdir(below)
    assert main("explain", "some.parquet", "--model", "../../artifacts/model") == 0
    assert not (project.folder / "out.csv").exists()


def test_every_path_of_a_verb_is_meant_from_where_the_user_is(bare_project: Project) -> None:
    """A parameter that takes a path has the callback: a new one that lacks it is found here."""
    named = ("source", "target", "captures", "labels", "model")  # texts, because a URL will do as well
    for verb in cli.command(cli.rooms()).registered_commands:
        assert verb.callback
        for name, kind in verb.callback.__annotations__.items():
            if "typer.Argument(" in str(kind) or "typer.Option(" in str(kind):
                takes_path = "Path" in str(kind).split(",")[0] or name in named
                assert not takes_path or "callback=from_caller" in str(kind), (verb.callback.__name__, name)


@pytest.mark.parametrize("address", ["s3://bucket/rows.parquet", "https://example.invalid/rows.csv"])
def test_an_address_is_no_path(
    project: Project, monkeypatch: pytest.MonkeyPatch, main: Main, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    (project.folder / "docs").mkdir()
    monkeypatch.chdir(project.folder / "docs")
    monkeypatch.setattr(
        "twoloops.problems.tabular.files._read", lambda place: (_ for _ in ()).throw(FileNotFoundError(place))
    )
    assert main("explain", address, "--model", "../artifacts/model") == 1
    assert f"There is no data at {address}." in capsys.readouterr().err


# ------------------------------------------------------------------ a disk that refuses


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder by its path, without the database and the logs of libraries."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(("mlflow.db", ".lock"))
    }


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_told_in_words_and_nothing_is_half_done(
    promoted: Project, monkeypatch: pytest.MonkeyPatch, main: Main, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    """Every verb that writes a file, with a disk that refuses the first one."""
    before = contents(promoted.folder)
    verbs_that_write = (
        ["prepare"],
        ["train"],
        ["evaluate"],
        ["simulate", "new.parquet", "--rows", "30"],
        ["predict", "data/raw/rows.parquet", "out.csv"],
        ["staleness"],
        ["tune"],
        ["monitor"],
        ["promote", "1"],
        ["deploy", "--yes"],
    )

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "some/place")

    for words in verbs_that_write:
        with monkeypatch.context() as patch:
            patch.setattr("twoloops.storage.tempfile.TemporaryDirectory", refuse)
            assert main(*words) == 1, words
        told = capsys.readouterr().err
        assert f"some/place ({os.strerror(number)})" in told, (words, told)
        assert "What to do: Make room" in told
        assert "Traceback" not in told
        after = {name: content for name, content in contents(promoted.folder).items() if name in before}
        assert after == before, words


# ------------------------------------------------------------------ what it logs


@pytest.mark.parametrize("words", [["-v", "promote"], ["promote", "-v"], ["promote", "--verbose"]])
def test_verbose_says_what_is_done(
    promoted: Project, main: Main, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    number = registry.create_version(registry.get("1").run_id, {"compared_with": "1"})
    registry.set_alias(registry.CHALLENGER, number)
    assert main(*words) == 0
    told = capsys.readouterr()
    assert "INFO twoloops.cli: promote in " in told.err
    assert "INFO twoloops.registry: version 2 of churn is champion" in told.err
    assert "DEBUG" not in told.err
    assert "INFO" not in told.out


def test_without_it_nothing_is_logged(promoted: Project, main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("promote", "1", "-v") == 0
    assert "INFO" in capsys.readouterr().err
    assert main("promote", "1") == 0
    assert "INFO" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--debug", "prepare"], ["prepare", "--debug"]])
def test_debug_shows_where_an_error_came_from(
    bare_project: Project, main: Main, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    Path("params.yaml").write_text("seed: [1\n", encoding="utf-8")
    assert main(*words) == 1
    told = capsys.readouterr().err
    assert "Traceback (most recent call last)" in told
    assert "yaml.parser.ParserError" in told, "the cause"
    assert "The above exception was the direct cause" in told
    assert told.splitlines()[-2].startswith("What to do:") or told.splitlines()[-1].startswith("What to do:")


def test_what_stands_after_two_hyphens_is_no_option(bare_project: Project) -> None:
    told = call("simulate", "--rows", "30", "--", "-v")
    assert told.exit_code == 0, told.output
    assert Path("-v").exists()


# ------------------------------------------------------------------ two projects in one process


def test_two_projects_in_one_process_have_each_their_registry(
    promoted: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = begin_project(tmp_path / "other", "regression")
    for _ in range(2):
        monkeypatch.chdir(promoted.folder)
        champion = registry.find(registry.CHAMPION)
        assert champion is not None
        assert (config.current().package, champion.number) == ("churn", "1")
        monkeypatch.chdir(other.folder)
        assert (config.current().package, registry.find(registry.CHAMPION)) == ("spending", None)
