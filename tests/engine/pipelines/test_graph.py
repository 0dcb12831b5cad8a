"""The graph, read from dvc.yaml: steps in their order, and what cannot be read told in words."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from twoloops.contracts.graph import Graph, Step
from twoloops.errors import ProjectError
from twoloops.pipelines import graph

Read = Callable[..., Graph]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that reads a graph from the text of dvc.yaml and of other files."""

    def make(text: str, **others: str) -> Graph:
        files = {"dvc.yaml": text, **{name.replace("__", "."): content for name, content in others.items()}}
        for name, content in files.items():
            (tmp_path / name).write_text(textwrap.dedent(content), encoding="utf-8")
        return graph.load(tmp_path)

    return make


CHAIN = """
    stages:
      last: {cmd: churn last, deps: [b], outs: [c]}
      first: {cmd: churn first, outs: [a]}
      middle: {cmd: churn middle, deps: [a], outs: [b]}
    """


def test_everything_of_a_stage_is_read(read: Read) -> None:
    (step,) = read(
        """
        stages:
          join:
            desc: two sources
            cmd: python -m churn.join --rows ${join.rows}
            deps:
              - ${data.source}
              - s3://bucket/regions.csv
              - src/churn/
            params:
              - join
              - other.yaml:
              - third.yaml: [x, y]
            outs:
              - data/joined.parquet:
                  persist: true
              - data/list.json: {cache: false}
            metrics: [{reports/join.json: {cache: false}}]
            plots: reports/plots
        """,
        params__yaml="join: {rows: 5}\ndata: {source: data/raw/rows.parquet}\n",
    ).steps
    assert step == Step(
        name="join",
        commands=("python -m churn.join --rows 5",),
        reads=("data/raw/rows.parquet", "s3://bucket/regions.csv", "src/churn"),
        writes=("data/joined.parquet", "data/list.json", "reports/join.json", "reports/plots"),
        kept=("data/list.json", "reports/join.json"),
        params={"params.yaml": ("join",), "other.yaml": (), "third.yaml": ("x", "y")},
    )
    assert step.words == ("python", "-m", "churn.join", "--rows", "5")


def test_steps_come_after_what_they_read_whatever_the_files_order(read: Read) -> None:
    assert read(CHAIN).names == ("first", "middle", "last")


def test_steps_that_need_nothing_of_each_other_keep_the_files_order(read: Read) -> None:
    found = read("stages: {z: {cmd: x}, a: {cmd: x}, m: {cmd: x, outs: [data/m.csv]}, n: {cmd: x, deps: [data]}}")
    assert found.names == ("z", "a", "m", "n")
    assert found.before(found.step("n")) == ("m",), "a folder is read in which a file was written"


def test_a_part_of_the_graph_is_a_step_with_all_that_it_needs(read: Read) -> None:
    found = read(f"{CHAIN}  beside: {{cmd: churn beside, deps: [a]}}")
    assert found.until("middle").names == ("first", "middle")
    assert found.until("beside").names == ("first", "beside")
    with pytest.raises(ProjectError, match="no step 'midle'") as raised:
        found.until("midle")
    assert "Did you mean 'middle'?" in raised.value.hint
    assert "first, middle, last, beside" in raised.value.hint


def test_what_no_step_writes_has_to_be_there(read: Read) -> None:
    found = read(
        """
        stages:
          join: {cmd: x, deps: [data/raw/a.csv, s3://bucket/b.csv], outs: [data/joined.csv], params: [other.yaml: ]}
          prepare: {cmd: x, deps: [data/joined.csv, data/raw/a.csv]}
        """
    )
    assert found.sources == ("data/raw/a.csv", "s3://bucket/b.csv", "other.yaml")
    assert found.maker("data/joined.csv") == found.step("join")
    assert found.maker("data/raw/a.csv") is None


def test_paths_are_the_projects_wherever_a_command_runs(read: Read) -> None:
    (step,) = read("stages: {a: {cmd: churn x, wdir: scripts, deps: [run.py, ../data/in.csv], outs: [out]}}").steps
    assert (step.folder, step.reads, step.writes) == ("scripts", ("scripts/run.py", "data/in.csv"), ("scripts/out",))
    assert step.verb("churn") == (), "the project's own verbs run in its folder"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("churn prepare --new-holdout", ("prepare", "--new-holdout")),
        ("churn score 'a b' --model=x", ("score", "a b", "--model=x")),
        ("churn prepare && echo done", ()),
        ("churn prepare > log", ()),
        ("churn predict $IN out", ()),
        ("SEED=1 churn prepare", ()),
        ("other prepare", ()),
        ("churn 'prepare", ()),
    ],
)
def test_a_verb_of_the_project_is_known_by_its_plain_command(command: str, words: tuple[str, ...]) -> None:
    assert Step("a", (command,)).verb("churn") == words
    assert Step("a", (command, command)).verb("churn") == (), "several commands are a shell's"


def test_a_list_of_commands_is_kept_as_it_is(read: Read) -> None:
    (step,) = read("stages: {a: {cmd: [echo 1, 'echo \\${HOME} | cat']}}").steps
    assert step.commands == ("echo 1", "echo ${HOME} | cat")


def test_values_come_from_params_and_from_vars(read: Read) -> None:
    (step,) = read(
        """
        vars: [more.json, {here: {flag: true, list: [1, 2.5]}}]
        stages: {a: {cmd: 'x ${seed} ${deep.value} ${here.flag} ${here.list[1]}'}}
        """,
        params__yaml="seed: 3",
        more__json='{"deep": {"value": "v"}}',
    ).steps
    assert step.commands == ("x 3 v true 2.5",)


def test_an_option_is_given_to_a_verb_alone(read: Read) -> None:
    found = read(CHAIN)
    assert found.with_option("churn", "first", "--new").step("first").commands == ("churn first --new",)
    assert found.with_option("churn", "first", "--new").step("last") == found.step("last")
    with pytest.raises(ProjectError, match="'churn other', which would be given --new"):
        found.with_option("churn", "other", "--new")


def test_a_step_more_comes_last(read: Read) -> None:
    found = read(CHAIN).and_then(Step("study", ("churn study",), ("c",)))
    assert found.names[-1] == "study"
    assert found.before(found.step("study")) == ("last",)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("stages: [", "is not valid YAML", "Correct the line"),
        ("stages: {}", "has no stages", "git has"),
        ("- a", "has no stages", "git has"),
        ("stages: {a: }", "stage 'a': it has no content", "at least a cmd"),
        ("stages: {a: {deps: [b]}}", "stage 'a': it has no cmd", "what it runs"),
        ("stages: {a: {cmd: []}}", "stage 'a': it has no cmd", "what it runs"),
        ("stages: {a: {cmd: {x: y}}}", "stage 'a': {'x': 'y'} is no text", "as a text"),
        ("stages: {a b: {cmd: x}}", "stage 'a b': this is no name", "letters, digits"),
        ("stages: {a: {cmd: x, dep: [b]}}", "stage 'a': 'dep' is unknown", "mean 'deps'"),
        ("stages: {a: {foreach: [1], do: {cmd: x}}}", "foreach is DVC's, and is not supported", "one by one"),
        ("stages: {a: {matrix: {x: [1]}, cmd: x}}", "matrix is DVC's", "one by one"),
        ("stages: {a: {cmd: x, frozen: true}}", "frozen is DVC's", "unfreeze"),
        ("stages: {a: {cmd: x, vars: [{b: 1}]}}", "vars is DVC's", "params.yaml"),
        ("vars: [values.py]\nstages: {a: {cmd: x}}", "'values.py' cannot be read", "YAML, JSON or TOML"),
        ("stages: {a: {cmd: 'x ${no.thing}'}}", "stage 'a': nothing is called ${no.thing}", "params.yaml"),
        ("vars: [{b: {c: 1}}]\nstages: {a: {cmd: 'x ${b}'}}", "${b} is {'c': 1}, and no single value", "one value"),
        ("stages: {a: {cmd: x, outs: [o]}, b: {cmd: x, outs: [o]}}", "stages 'a' and 'b' both write o", "elsewhere"),
        ("stages: {a: {cmd: x, outs: [o]}, b: {cmd: x, outs: [o/p]}}", "both write o and o/p, one in", "elsewhere"),
        ("stages: {a: {cmd: x, outs: [o], metrics: [o]}}", "stage 'a' names o", "elsewhere"),
        ("stages: {a: {cmd: x, deps: [o], outs: [o]}}", "stage 'a' reads what it writes itself", "its deps"),
        (
            "stages: {a: {cmd: x, deps: [3], outs: [1]}, b: {cmd: x, deps: [1], outs: [2]}, "
            "c: {cmd: x, deps: [2], outs: [3]}, d: {cmd: x, deps: [1]}}",
            "the stages 'b', 'c', 'a' wait for each other",
            "Take one path out",
        ),
    ],
)
def test_what_cannot_be_read_is_told(read: Read, text: str, message: str, hint: str) -> None:
    with pytest.raises(ProjectError) as raised:
        read(text)
    assert "dvc.yaml" in str(raised.value)
    assert message in str(raised.value)
    assert hint in raised.value.hint


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"dvc\.yaml does not exist"):
        graph.load(tmp_path)
