"""The command: quick, explaining, and clear about what went wrong."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from twoloops import cli, params
from twoloops.errors import ProjectError
from twoloops.verbs import inner_loop

from tests.engine.support.project import Project
from tests.engine.support.verbs import call

COMMAND = [sys.executable, "-m", cli.__name__]
DVC = [sys.executable, "-m", "dvc"]
STAGES = list(inner_loop.STAGES)
IGNORED = shutil.ignore_patterns("__pycache__", "cache", "tmp")


def test_help_teaches_every_verb() -> None:
    listed = call("--help").output
    for verb in cli.app.registered_commands:
        name = verb.callback.__name__.replace("_", "-") if verb.callback else ""
        assert name in listed
        assert call(name, "--help").exit_code == 0


def test_help_loads_no_heavy_library() -> None:
    heavy = {"pandas", "numpy", "sklearn", "mlflow", "pydantic", "dvc"}
    code = f"import sys, {cli.__name__}; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(answer.stdout.split())


def test_the_verbs_in_a_row(project: Project) -> None:
    for verb in ("prepare", "train", "evaluate", "register", "promote"):
        told = call(verb)
        assert told.exit_code == 0, told.output
        assert "Next: uv run" in told.output
    told = call("predict", "data/raw/rows.parquet", "out.csv")
    assert "predictions by" in told.output


@pytest.mark.parametrize("verb", ["prepare", "train", "evaluate", "register", "promote", "tune", "staleness"])
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


def test_an_error_is_told_in_words(project: Project) -> None:
    Path("params.yaml").unlink()
    answer = subprocess.run([*COMMAND, "prepare"], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith("Error: There is no params.yaml")
    assert "What to do:" in answer.stderr


def test_simulate_never_replaces_a_file_unasked(project: Project) -> None:
    pytest.importorskip(f"{params.__package__}.problem.sample", reason="problem/sample.py was deleted")
    with pytest.raises(ProjectError, match="exists"):
        call("simulate", catch_exceptions=False)
    assert call("simulate", "--force", "--rows", "50").exit_code == 0
    assert len(project.rows()) == 50


def test_run_wants_data_and_a_repository(project: Project) -> None:
    with pytest.raises(ProjectError, match="git repository"):
        call("run", catch_exceptions=False)
    project.set(data__source="nothing.parquet")
    with pytest.raises(ProjectError, match="There is no data at nothing"):
        call("run", catch_exceptions=False)


def test_the_graph_runs_what_changed_and_nothing_else(project: Project) -> None:
    root = Path(__file__).parents[1]
    for name in ("src", ".dvc", "dvc.yaml", ".gitignore"):
        if (root / name).is_dir():
            shutil.copytree(root / name, project.folder / name, ignore=IGNORED)
        else:
            shutil.copy(root / name, project.folder / name)
    for command in (["git", "init", "--quiet"], ["git", "add", "."]):
        subprocess.run(command, check=True)

    def graph() -> str:
        answer = subprocess.run([*COMMAND, "run"], capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    assert [f"{stage}:\n" in first for first in [graph()] for stage in STAGES] == [True] * len(STAGES)
    assert "Nothing has changed" in graph()
    assert subprocess.run([*DVC, "status", "--quiet"], check=False).returncode == 0
    project.set(gate__confidence=0.9)
    third = graph()
    assert [f"{stage}:\n" in third for stage in STAGES] == [False, False, True, True]


def test_the_verbs_are_the_stages_of_the_graph() -> None:
    graph = yaml.safe_load((Path(__file__).parents[1] / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert list(graph) == STAGES
    assert [stage["cmd"].split()[-1] for stage in graph.values()] == STAGES
