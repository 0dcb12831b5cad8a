"""Deployments with real services: trials, canaries that fail, kills at any moment, and the way back."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import FAULTY, QUICK, REGISTER, START
from tests.support.projects import CopyOf, change

pytestmark = pytest.mark.slow

ENVIRONMENTS = ("staging", "production")


class Deployed:
    """An installed project whose services are stopped at the end."""

    def __init__(self, project: CopyOf) -> None:
        """Make its trials short, and give it a module for faulty models."""
        self.project = project
        change(project, "deploy", **QUICK)
        (project.folder / f"src/{project.package}/problem/faulty.py").write_text(FAULTY, encoding="utf-8")
        self._made = 0

    def verb(self, *words: str, code: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
        answer = self.project.verb(*words, code=code, env=env)
        assert "Traceback" not in answer.stderr
        return answer

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start a verb and do not wait for it."""
        return subprocess.Popen(
            [self.project.python, "-m", "twoloops", *words],
            cwd=self.project.folder,
            env=self.project.variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def start(self) -> None:
        """Let version 1, the champion, run in production."""
        self.project.run("python", "-c", START)

    def register(self, fault: str = "", *, passed: bool = False) -> str:
        """Register a challenger and return its number; `passed` as if it had been in staging."""
        self._made += 1
        code = REGISTER.format(package=self.project.package)
        told = self.project.run("python", "-c", code, fault, "passed" if passed else "", str(self._made))
        return told.stdout.split()[-1]

    def code(self, code: str) -> str:
        return self.project.run("python", "-c", f"from twoloops import registry\n{code}").stdout.strip()

    @property
    def champion(self) -> str | None:
        """Return the champion's number, from the registry's own file: a process with MLflow takes seconds to ask."""
        with closing(sqlite3.connect(self.project.folder / "mlflow.db")) as registry:
            found = registry.execute("select version from registered_model_aliases where alias = 'champion'").fetchone()
        return str(found[0]) if found else None

    def wanted(self, environment: str = "production") -> dict[str, Any]:
        path = self.project.folder / "deployments" / environment / "deployment.json"
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    def runs(self, environment: str = "production") -> tuple[str, str | None]:
        """Return the versions that the service itself says it runs."""
        with urllib.request.urlopen(f"{self.address(environment)}/health/ready", timeout=10) as answer:  # noqa: S310
            said = json.load(answer)
        return said["stable"]["version"], said["canary"] and said["canary"]["version"]

    def service(self, environment: str = "production") -> dict[str, Any]:
        path = self.project.folder / "deployments" / environment / "service.json"
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    def address(self, environment: str = "production") -> str:
        return f"http://127.0.0.1:{self.service(environment)['port']}"

    @staticmethod
    def wait_for(happened: Callable[[], bool], seconds: float = 120) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def wait_for_canary(self, deployment: subprocess.Popen[str]) -> None:
        """Wait until a deployment has a canary, or has ended."""
        self.wait_for(lambda: self.wanted()["canary"] is not None or deployment.poll() is not None)

    def processes(self, *environments: str) -> list[int]:
        """Return the services of this project, by what the system says."""
        folders = {str(self.project.folder / "deployments" / name) for name in environments or ENVIRONMENTS}
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if folders & set(words):
                found.append(int(path.parent.name))
        return found


@pytest.fixture
def deployed(trained: CopyOf) -> Iterator[Deployed]:
    project = Deployed(trained)
    yield project
    for process in project.processes():
        os.kill(process, signal.SIGKILL)


class Users:
    """Clients who ask without pause and note each answer that is not 200."""

    def __init__(self, deployed: Deployed, clients: int = 2) -> None:
        """Take a row from the table that the model learned from."""
        self._deployed = deployed
        rows = f"import pandas as pd\nfrom {deployed.project.package}.problem import data\n"
        rows += "rows = pd.read_parquet('data/raw/simulated.parquet').head(200)\n"
        rows += "rows = rows.drop(columns=[data.TARGET])\nprint(rows.to_json(orient='records', date_format='iso'))"
        self._bodies = [
            json.dumps(row).encode() for row in json.loads(deployed.project.run("python", "-c", rows).stdout)
        ]
        self.answers = 0
        self.failures: list[str] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(place,)) for place in range(clients)]

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, place: int) -> None:
        url = f"{self._deployed.address()}/predict"
        while not self._end.is_set():
            place += 1
            request = urllib.request.Request(  # noqa: S310 - loopback
                url, self._bodies[place % len(self._bodies)], {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                    assert json.load(answer)["predictions"]
                self.answers += 1
            except Exception as error:
                self.failures.append(repr(error))
            time.sleep(0.005)


def test_the_first_version_the_second_and_the_way_back(deployed: Deployed) -> None:
    # Nobody is champion, and nobody is asked: staging, and then a command for a person.
    deployed.code(
        "version = registry.get('1')\nregistry.remove_alias(registry.CHAMPION)\n"
        "registry.set_alias(registry.CHALLENGER, version)"
    )
    told = deployed.verb("deploy").stdout
    assert "deploy 1 --to production --yes" in told
    assert not (deployed.project.folder / "deployments/production").exists()
    assert deployed.champion is None
    told = deployed.verb("deploy", "1", "--to", "production", "--yes").stdout
    assert "Version 1 runs in production and is the champion (before: none)." in told
    assert deployed.champion == "1"
    assert deployed.runs() == ("1", None)
    assert "well" in deployed.verb("status").stdout

    # Given again, it makes sure that it runs.
    assert "runs version 1 already" in deployed.verb("deploy", "--yes").stdout

    deployed.verb("invoke", "data/raw/simulated.parquet", "answers.csv")
    lines = (deployed.project.folder / "answers.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 8001

    second = deployed.register()
    told = deployed.verb("deploy", "2", "--to", "production", "--yes", code=1).stderr
    assert "has to pass staging first" in told
    with Users(deployed) as users:
        told = deployed.verb("deploy", "--yes").stdout
    assert users.failures == []
    assert users.answers > 50
    for words in ("smoke test", "contract test", "load test of version 1", "canary: version 2 takes 50%"):
        assert words in told
    assert deployed.champion == second == "2"
    assert deployed.runs() == ("2", None)

    with Users(deployed) as users:
        told = deployed.verb("rollback").stdout
    assert users.failures == []
    assert "Champion: version 1 (before: 2)" in told
    assert "no champion before" in told
    assert deployed.champion == "1"
    assert deployed.runs() == ("1", None)
    told = deployed.verb("rollback", code=1).stderr
    assert "There is no champion before version 1." in told
    assert deployed.runs() == ("1", None)


def test_a_model_that_fails_is_kept_from_users_and_a_canary_that_fails_is_taken_back(deployed: Deployed) -> None:
    deployed.start()
    before = deployed.wanted()
    number = deployed.register("raises")
    answer = deployed.verb("deploy", "--yes", code=2)
    assert f"Version {number} does not pass" in answer.stderr
    assert deployed.wanted() == before
    assert "failed there" in deployed.verb("deploy", "--to", "production", "--yes", code=1).stderr

    # A fault that shows in a service alone: a shadow of what was captured by now would find another one first.
    number = deployed.register("raises where it serves", passed=True)
    with Users(deployed) as users:
        answer = deployed.verb("deploy", "--to", "production", "--yes", code=2)
    assert users.failures == []
    assert f"Version {number} failed as canary in production" in answer.stderr
    assert "errors in" in answer.stderr
    assert "rolled back: version 1 takes all requests" in answer.stdout
    assert deployed.champion == "1"
    assert deployed.wanted()["canary"] is None
    assert deployed.runs() == ("1", None)
    identity = deployed.code(f"print(registry.get('{number}').tags[registry.IDENTITY])")
    read = f"platform.records().read('trials/production/{identity}')"
    trials = json.loads(
        deployed.code(f"import json\nfrom twoloops.platforms import platform\nprint(json.dumps({read}))")
    )
    assert [trial["verdict"] for trial in trials] == ["failed"]


def test_a_canary_that_ends_the_service_is_taken_back(deployed: Deployed) -> None:
    deployed.start()
    deployed.register("ends", passed=True)
    answer = deployed.verb("deploy", "--to", "production", "--yes", code=2)
    assert "failed as canary in production" in answer.stderr
    assert deployed.runs() == ("1", None)
    assert deployed.champion == "1"


def test_a_corrupted_artifact_changes_nothing(deployed: Deployed) -> None:
    deployed.start()
    number = deployed.register()
    place = deployed.code(
        f"import mlflow\nwith registry.download('models:/{deployed.project.package}/{number}'): pass\n"
        f"run = registry.get('{number}').run_id\nprint(mlflow.get_run(run).info.artifact_uri.removeprefix('file://'))"
    )
    model = Path(place) / "model/model.onnx"
    model.write_bytes(model.read_bytes()[:-7] + b"corrupt")
    answer = deployed.verb("deploy", "--yes", code=2)
    assert "was altered" in answer.stderr
    assert deployed.runs() == ("1", None)
    assert not (deployed.project.folder / "deployments/staging").exists()


def test_a_deployment_that_is_killed_again_and_again_ends_well(deployed: Deployed) -> None:
    deployed.start()
    number = deployed.register(passed=True)
    seen = []
    with Users(deployed) as users:
        for turn in range(8):
            words = ["--to", "production"] if turn % 2 else []
            process = deployed.begin("deploy", number, "--yes", *words)
            # Every other time from the canary on; and never at quite the same moment.
            if turn % 2:
                deployed.wait_for_canary(process)
            try:
                process.wait(turn * 0.4 + time.time_ns() % 1000 / 1000)
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            wanted = deployed.wanted()
            seen.append((wanted["stable"]["version"], wanted["canary"] and wanted["canary"]["version"]))
            assert deployed.runs()[0] in {"1", number}
        told = deployed.verb("deploy", number, "--yes").stdout
    assert f"Version {number} runs in production and is the champion" in told
    assert users.failures == []
    assert ("1", number) in seen, f"it was never killed in the midst of its canary: {seen}"
    assert deployed.champion == number
    assert deployed.runs() == (number, None)
    assert len(deployed.processes("production")) == 1


def test_two_deployments_at_once(deployed: Deployed) -> None:
    first = deployed.begin("deploy", "--yes")
    holder = deployed.project.folder / "deployments/holder.json"  # promote had the lock before
    deployed.wait_for(lambda: holder.exists() and json.loads(holder.read_bytes())["what"] == "A deployment")
    os.killpg(first.pid, signal.SIGSTOP)  # on a busy machine it would be done before the others begin
    for words in (["deploy", "--yes"], ["rollback"], ["stop", "staging"]):
        told = deployed.verb(*words, code=1).stderr
        assert "A deployment is under way: process" in told
    os.killpg(first.pid, signal.SIGCONT)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 0, output
    assert deployed.runs() == ("1", None)


def test_the_registry_is_away(deployed: Deployed) -> None:
    deployed.start()
    deployed.register()
    before = deployed.wanted()
    with Users(deployed) as users:
        for words in (["deploy", "--yes"], ["rollback"]):
            told = deployed.verb(*words, code=1, MLFLOW_TRACKING_URI="http://127.0.0.1:9").stderr
            assert "The tracking server at http://127.0.0.1:9 did not do what was asked" in told
    assert users.failures == []
    assert deployed.wanted() == before
    assert not (deployed.project.folder / "deployments/staging").exists()
    # What runs needs no registry either, not even to be looked at.
    assert "well" in deployed.verb("status", MLFLOW_TRACKING_URI="http://127.0.0.1:9").stdout


def test_a_service_that_died_comes_back(deployed: Deployed) -> None:
    deployed.start()
    second = deployed.register(passed=True)
    deployed.verb("deploy", "--to", "production", "--yes")
    address = deployed.address()

    def kill() -> None:
        os.kill(deployed.service()["pid"], signal.SIGKILL)
        assert "does not answer" in deployed.verb("status", code=1).stdout

    kill()
    deployed.verb("deploy", "--yes")
    assert deployed.runs() == (second, None)
    assert deployed.address() == address
    kill()
    deployed.verb("rollback")
    assert deployed.runs() == ("1", None)
    assert len(deployed.processes("production")) == 1


def test_invoke_tells_refused_rows_and_goes_on(deployed: Deployed) -> None:
    deployed.start()
    code = (
        "import pandas as pd\nrows = pd.read_parquet('data/raw/simulated.parquet').head(30)\n"
        "rows.loc[3, 'plan'] = 'gold'\nrows.loc[17, 'tenure'] = -5\nrows.to_csv('rows.csv', index=False)"
    )
    deployed.project.run("python", "-c", code)
    for words in ([], ["--rows-per-request", "1"], ["--rows-per-request", "7"]):
        answer = deployed.verb("invoke", "rows.csv", "out.parquet", *words)
        assert [line.split(":")[0] for line in answer.stderr.splitlines()] == ["row 3", "row 17"]
        assert "plan" in answer.stderr.splitlines()[0]
        assert "28 of 30 rows were answered by version 1" in answer.stdout
    printed = deployed.verb("invoke", "rows.csv").stdout.splitlines()
    assert printed[0].startswith("row,subscriber_id,observed_at,prediction,")
    assert len(printed) == 29
