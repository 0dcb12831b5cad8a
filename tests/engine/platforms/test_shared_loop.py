"""The loop elsewhere, on a store that is a folder: what steps are handed, what they hand on, what comes back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from twoloops import config
from twoloops.contracts.graph import Graph, Step
from twoloops.errors import ProjectError
from twoloops.platforms.shared import loop, plan
from twoloops.platforms.shared.steps import run_step

from tests.engine.support.project import RAW, Project

JOIN = Step(
    name="join",
    commands=("cat a.csv b/*.csv > data/joined.csv", "echo joined > seen.txt && echo other > left.txt"),
    reads=("a.csv", "b", "src"),
    writes=("data/joined.csv", "seen.txt"),
    kept=("seen.txt",),
    params={"more.yaml": ("x",)},
)


class Folder:
    """An object store in a folder; names are `memory://` and a path."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder."""
        self.folder = folder

    def place(self, url: str) -> Path:
        return self.folder / url.removeprefix("memory://")

    def upload(self, source: Path, url: str) -> None:
        self.upload_bytes(source.read_bytes(), url)

    def create(self, content: bytes, url: str) -> bool:
        if self.exists(url):
            return False
        self.upload_bytes(content, url)
        return True

    def upload_bytes(self, content: bytes, url: str) -> None:
        self.place(url).parent.mkdir(parents=True, exist_ok=True)
        self.place(url).write_bytes(content)

    def read_bytes(self, url: str) -> bytes:
        return self.place(url).read_bytes()

    def exists(self, url: str) -> bool:
        return self.place(url).is_file()

    def sizes(self, folder: str) -> dict[str, int]:
        home = self.place(folder)
        return {each.relative_to(home).as_posix(): each.stat().st_size for each in home.rglob("*") if each.is_file()}

    def download(self, folder: str, target: Path, names: list[str]) -> None:
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.place(folder) / name, target / name)


class Here:
    """A runner that runs the steps here, one after the other."""

    home = "memory://bucket"

    def __init__(self, store: Folder) -> None:
        """Keep the store."""
        self.store = store
        self.codes: dict[str, int] = {}

    def default_tracking_uri(self) -> str:
        return "https://mlflow.example"

    def image(self, kind: str) -> str:
        return kind

    def find_attempt(self, inputs: str) -> loop.Attempt:
        return loop.Attempt(f"{inputs}-1", None)

    def start(self, name: str, graph: Graph, parameters: dict[str, str]) -> str:
        for step in graph.steps:
            self.codes[step.name] = run_step(self.store, parameters[loop.RUN], step.name)
        return name

    def wait(self, address: str, tell: object) -> ProjectError | None:
        return None


@pytest.fixture
def here(bare_project: Project, tmp_path: Path) -> Here:
    """Return a runner, in a project of which git has a.csv and src/, and has not b/ and the raw data."""
    folder = bare_project.folder
    for name, content in {
        "a.csv": "1\n",
        "b/2.csv": "2\n",
        "b/3.csv": "3\n",
        "src/code.py": "",
        "src/code.pyc": "",
        "more.yaml": "x: 1",
        ".gitignore": "b\n*.pyc\ndata\n",
        RAW.as_posix(): "rows",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    bare_project.set(data__source=RAW.as_posix())
    return Here(Folder(tmp_path / "store"))


def run_folder(here: Here) -> Path:
    (folder,) = (here.store.folder / "bucket/models/runs").iterdir()
    return folder


def test_any_command_runs_on_what_it_reads_and_hands_on_what_it_writes(here: Here) -> None:
    told: list[str] = []
    loop.submit(here, Graph((JOIN,)), told.append)
    assert here.codes == {"join": 0}
    run = run_folder(here)
    assert (run / "data/joined.csv").read_text(encoding="utf-8") == "1\n2\n3\n"
    # What git has lies in the run's folder, as it is; what it has not lies with the data, once, by its content.
    listed = set(here.store.sizes(f"memory://bucket/models/runs/{run.name}"))
    assert listed == {
        *("a.csv", "src/code.py", "more.yaml", "params.yaml", "pyproject.toml", "dvc.yaml", plan.FILE),
        *("data/joined.csv", "seen.txt"),
    }, "not left.txt, which the graph does not name"
    data = plan.load((run / plan.FILE).read_bytes()).data
    assert set(data) == {"b/2.csv", "b/3.csv"}
    assert all(here.store.exists(url) and url.startswith("memory://bucket/data/") for url in data.values())
    # What git keeps comes back; the rest stays there.
    assert Path("seen.txt").read_text(encoding="utf-8") == "joined\n"
    assert not Path("data/joined.csv").exists()
    assert told[-1].startswith("Run ")


def test_a_step_that_does_not_write_what_it_should_fails(here: Here, capfd: pytest.CaptureFixture[str]) -> None:
    loop.submit(here, Graph((Step("a", ("true",), (), ("never.csv",)),)), print)
    assert here.codes == {"a": 1}
    assert "a succeeded, and has not written never.csv" in capfd.readouterr().out


def test_what_a_failed_step_has_written_is_kept(here: Here) -> None:
    step = Step(
        "a", ("echo why > why.txt; exit 3", "echo never > never.txt"), (), ("why.txt", "never.txt"), ("why.txt",)
    )
    loop.submit(here, Graph((step,)), print)
    assert here.codes == {"a": 3}
    assert Path("why.txt").read_text(encoding="utf-8") == "why\n"
    assert not (run_folder(here) / "never.txt").exists()


def test_steps_do_not_see_what_they_do_not_read(here: Here) -> None:
    first = Step("first", ("echo 1 > one.txt",), (), ("one.txt",))
    second = Step("second", ("ls > two.txt",), (), ("two.txt",), ("two.txt",))
    loop.submit(here, Graph((first, second)), print)
    assert "one.txt" not in Path("two.txt").read_text(encoding="utf-8").splitlines()


def test_the_verbs_read_the_table_where_it_lies_and_other_commands_get_it(here: Here) -> None:
    source = RAW.as_posix()
    verb = Step("prepare", ("churn prepare",), (source,), ())
    other = Step("look", (f"cp {source} seen.txt",), (source,), ("seen.txt",), ("seen.txt",))
    loop.submit(here, Graph((verb, other)), print)
    planned = plan.load((run_folder(here) / plan.FILE).read_bytes())
    (url,) = planned.graph.step("prepare").reads
    assert url.startswith("memory://bucket/data/")
    assert planned.data == {source: url}, "uploaded once"
    handed = yaml.safe_load((run_folder(here) / "params.yaml").read_text(encoding="utf-8"))
    assert handed["data"]["source"] == url
    assert Path("seen.txt").read_text(encoding="utf-8") == "rows"


def test_a_table_that_a_step_makes_is_no_data_to_upload(here: Here, bare_project: Project) -> None:
    bare_project.set(data__source="./data/joined.csv")
    loop.submit(here, Graph((JOIN, Step("look", ("wc data/joined.csv > n",), ("data/joined.csv",), ("n",)))), print)
    assert here.codes == {"join": 0, "look": 0}
    handed = yaml.safe_load((run_folder(here) / "params.yaml").read_text(encoding="utf-8"))
    assert handed["data"]["source"] == "./data/joined.csv"


def test_a_step_works_in_its_own_folder_where_a_container_names_the_image_s(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(config.VARIABLE, str(Path.cwd()))
    step = Step("a", (f'test "${config.VARIABLE}" = "$PWD" && echo own > own.txt',), (), ("own.txt",))
    loop.submit(here, Graph((step,)), print)
    assert here.codes == {"a": 0}


def test_another_command_is_another_run(here: Here) -> None:
    for line in ("true", "true ", "echo 2"):
        loop.submit(here, Graph((Step("a", (line,)),)), print)
    assert len(list((here.store.folder / "bucket/models/runs").iterdir())) == 3


def test_a_source_that_is_not_there_is_told(here: Here) -> None:
    with pytest.raises(ProjectError, match=r"There is no gone\.csv, which dvc\.yaml lets a step read"):
        loop.submit(here, Graph((Step("a", ("true",), ("gone.csv",)),)), print)


def test_a_plan_is_read_as_it_was_written() -> None:
    planned = plan.Plan(Graph((JOIN,)), {"b/2.csv": "memory://2"})
    assert plan.load(planned.dump()) == planned
