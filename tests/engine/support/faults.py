"""Faults at random moments of every verb: killed, without power, a disk that is full or read-only, a clock that jumps.

`python -m tests.engine.support.faults --seed 1 --faults 500 --workers 2` runs a campaign, and prints a table. A verb
runs in a process that is forked from one which has loaded everything, so that a fault costs a second and not ten. At
which change of a file it strikes is drawn among those of a run without a fault. Then the same verb is run once more,
and has to end as if nothing had been: nothing lost, nothing doubled.

A power cut is a kill after which each new file that the disk did not have yet (`fsync`) is cut to a random length. The
files of SQLite are left out: how it keeps its promises is its own business, and tested there.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NoReturn

COUNT, KILL, FAIL, CLOCK = range(4)
CREATES, WRITES, MOVES = 1, 2, 4
DAY = 86_400
FAULTS = ("kill -9", "power cut", "full disk", "read-only", "clock")
ARMED = "FAULTS_LIBRARY"  # names the shim in a process that was started with it
PATIENCE = 300.0  # seconds for a verb
SOURCE = Path(__file__).with_suffix(".c")
SQLITE = (".db", ".db-journal", ".db-wal", ".db-shm")
INODE = 8  # bytes
LOADED = (  # before the forks
    "mlflow",
    "optuna",
    "sklearn.ensemble",
    "twoloops.cli",
    "twoloops.inner_loop.evaluate",
    "twoloops.outer_loop.monitoring.monitor",
    "twoloops.scoring.run",
)


@dataclass(frozen=True)
class Verb:
    """A verb, and the project in which it is run."""

    words: tuple[str, ...]
    base: str  # of `bases`: what ran before
    # What a repetition may say in place of success, where the first run had done all before it was struck.
    done: str = ""

    @property
    def name(self) -> str:
        return self.words[0]


RAW = "data/raw/rows.parquet"
# In this order each verb's end is the beginning of the next ones.
VERBS = (
    Verb(("simulate", "--rows", "800", "--seed", "5", "--force"), "begun"),
    Verb(("prepare",), "begun"),
    Verb(("train",), "prepared"),
    Verb(("tune",), "prepared"),
    Verb(("evaluate",), "trained"),
    Verb(("refit",), "judged"),
    Verb(("register",), "refitted"),
    Verb(("promote",), "registered", "There is no challenger to promote"),
    Verb(("promote", "2"), "second"),
    Verb(("rollback",), "promoted", "There is no champion before"),
    Verb(("predict", RAW, "answers.parquet"), "promoted"),
    Verb(("explain", RAW), "promoted"),
    Verb(("score", RAW, "data/predictions"), "promoted"),
    Verb(("monitor",), "scored"),
    Verb(("report",), "promoted"),
    Verb(("forget", "{entity}"), "scored"),
)


@dataclass
class Outcome:
    """What came of one fault."""

    verb: str
    fault: str
    struck: bool  # the verb did not end well: the fault met it
    wrong: str = ""  # what is not as it has to be
    moment: int = 0
    torn: int = 0


@dataclass
class Campaign:
    """One worker's: its projects, and what runs without faults leave."""

    folder: Path
    library: Any
    draw: random.Random
    entity: str = ""
    clean: dict[tuple[str, ...], tuple[dict[str, Any], int]] = field(default_factory=dict)

    @property
    def project(self) -> Path:
        return self.folder / "project"

    def keep(self, base: str) -> None:
        shutil.copytree(self.project, self.folder / base, symlinks=True, dirs_exist_ok=False)

    def restore(self, base: str) -> None:
        shutil.rmtree(self.project, ignore_errors=True)
        shutil.copytree(self.folder / base, self.project, symlinks=True)

    def words(self, verb: Verb) -> list[str]:
        return [word.format(entity=self.entity) for word in verb.words]

    # ------------------------------------------------------------------ processes

    def call(self, words: Sequence[str], arm: Callable[[int], None] | None = None) -> tuple[int, str, set[int], int]:
        """Run a verb in a process of its own.

        Returns:
            Its exit code (negative: a signal), what it said, the files that the disk had at the end, by inode, and how
            many changes of files were counted.
        """
        synced, said, counted = (self.folder / name for name in ("synced", "said", "counted"))
        for path in (synced, said, counted):
            path.write_bytes(b"")
        child = os.fork()
        if child == 0:
            self._be(words, arm, synced, said, counted)
        deadline, status = time.monotonic() + PATIENCE, 0
        while True:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                break
            if time.monotonic() > deadline:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return -1, f"it hangs: {said.read_text(errors='replace')[-500:]}", set(), 0
            time.sleep(0.005)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what it has started goes with it
        content = synced.read_bytes()
        inodes = {int.from_bytes(content[at : at + INODE], sys.byteorder) for at in range(0, len(content), INODE)}
        return (
            os.waitstatus_to_exitcode(status),
            said.read_text(encoding="utf-8", errors="replace"),
            inodes,
            int(counted.read_bytes() or b"0"),
        )

    def _be(self, words: Sequence[str], arm: Any, synced: Path, said: Path, counted: Path) -> NoReturn:
        code = 99
        try:
            os.setsid()
            os.chdir(self.project)
            with said.open("wb") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
            note = os.open(synced, os.O_WRONLY)
            at_end = os.open(counted, os.O_WRONLY)
            sys.argv = ["churn", *words]
            from twoloops import cli

            if arm:
                arm(note)
            try:
                cli.main()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            except BaseException:
                traceback.print_exc()
                code = 98
            changes = self.library.faults_counted()
            self.library.faults_arm(COUNT, 0, 0, 0, -1, 0)
            os.write(at_end, str(changes).encode())
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

    # ------------------------------------------------------------------ what there is

    def look(self) -> dict[str, Any]:
        """Return what must be neither lost nor doubled."""
        seen = self.folder / "seen.json"
        seen.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.chdir(self.project)
                seen.write_text(json.dumps(_look()), encoding="utf-8")
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.waitpid(child, 0)
        return dict(json.loads(seen.read_text())) if seen.exists() else {"unreadable": True}

    # ------------------------------------------------------------------ the projects

    def begin(self) -> None:
        """Make the projects in which verbs begin."""
        from tests.engine.support.project import begin_project, open_gate

        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)

        def lay_out() -> None:
            begin_project(self.project, "classification")
            os.chdir(self.project)
            from tests.engine.support.project import Project

            open_gate(Project(self.project))
            Project(self.project).set(tune__trials=1, score__target="data/predictions")

        _aside(lay_out)
        self.keep("begun")
        steps = {
            "prepared": ["prepare"], "trained": ["train"], "judged": ["evaluate"], "refitted": ["refit"],
            "registered": ["register"], "first": ["promote"],
        }  # fmt: skip
        for base, words in steps.items():
            self._must(words)
            self.keep(base)
        _aside(self._change_seed)
        for words in (["train"], ["evaluate"], ["refit"], ["register"]):
            self._must(words)
        self.keep("second")
        self._must(["promote"])
        self.keep("promoted")
        self._must(["score", RAW, "data/predictions"])
        self.keep("scored")
        import pandas as pd

        rows = pd.read_parquet(self.folder / "scored/data/prepared/train.parquet")
        self.entity = str(rows.iloc[0, 0]) if "customer_id" not in rows else str(rows["customer_id"].iloc[0])

    def _change_seed(self) -> None:
        os.chdir(self.project)
        from tests.engine.support.project import Project

        Project(self.project).set(seed=77)

    def _must(self, words: list[str]) -> None:
        code, said, _, _ = self.call(words)
        assert code == 0, f"{words}: {code}\n{said}"

    def run_clean(self, verb: Verb) -> tuple[dict[str, Any], int]:
        """Return what a run without a fault leaves, and how many changes of files it makes."""
        if verb.words not in self.clean:
            self.restore(verb.base)
            code, said, _, changes = self.call(self.words(verb), lambda note: self.arm(COUNT, 0, 0, 0, note))
            assert code == 0, f"{verb.words} without a fault: {code}\n{said}"
            self.clean[verb.words] = (self.look(), changes)
        return self.clean[verb.words]

    def arm(self, kind: int, code: int, what: int, after: int, note: int = -1, shift: int = 0) -> None:
        self.library.faults_arm(kind, code, what, after, note, shift)

    # ------------------------------------------------------------------ a fault

    def strike(self, verb: Verb, fault: str) -> Outcome:
        """Run a verb with a fault, then without, and compare with a run that met none."""
        expected, changes = self.run_clean(verb)
        self.restore(verb.base)
        moment = self.draw.randint(1, max(1, changes))
        shift = self.draw.choice((-400, -1, 1, 400)) * DAY
        before = {path.stat().st_ino for path in self.project.rglob("*")}
        what = {"full disk": CREATES | WRITES, "read-only": CREATES | WRITES | MOVES}.get(fault, 0)
        kind = {"kill -9": KILL, "power cut": KILL, "clock": CLOCK}.get(fault, FAIL)
        number = errno.ENOSPC if fault == "full disk" else errno.EROFS
        code, said, synced, _ = self.call(
            self.words(verb), lambda note: self.arm(kind, number, what, moment, note, shift)
        )
        outcome = Outcome(verb.name, fault, code != 0, moment=moment)
        if fault == "power cut" and code == -signal.SIGKILL:
            outcome.torn = self._tear(before, synced)
        if kind == FAIL and ("Traceback" in said or (code != 0 and "What to do:" not in said)):
            outcome.wrong = f"not told in words: {said[-1500:]}"
            return outcome
        if kind == CLOCK and code != 0 and "What to do:" not in said:
            outcome.wrong = f"the clock: {said[-1500:]}"
            return outcome
        code, said, _, _ = self.call(self.words(verb))
        if code != 0 and not (verb.done and verb.done in said):
            outcome.wrong = f"cannot be repeated, {code}: {said[-1500:]}"
            return outcome
        found = self.look()
        if found != expected:
            differs = {name: (expected.get(name), found.get(name)) for name in {*expected, *found}}
            outcome.wrong = f"not as without a fault: { {n: v for n, v in differs.items() if v[0] != v[1]} }"
        return outcome

    def _tear(self, before: set[int], synced: set[int]) -> int:
        """Cut new files that the disk did not have to a random length, and return how many those were."""
        torn = 0
        for path in sorted(self.project.rglob("*")):
            if path.is_symlink() or not path.is_file() or path.name.endswith(SQLITE):
                continue
            inode, size = path.stat().st_ino, path.stat().st_size
            if inode in before or inode in synced or not size:
                continue
            path.chmod(0o644)
            os.truncate(path, self.draw.choice((0, self.draw.randrange(size))))
            torn += 1
        return torn


def _look() -> dict[str, Any]:
    """Return what there is in the project that is the working folder."""
    from pyarrow import parquet
    from twoloops import registry
    from twoloops.registry.mlflow import connection

    found: dict[str, Any] = {}
    own = [path for path in Path().rglob("*") if path.is_file() and not any(part[0] == "." for part in path.parts)]
    rows: Counter[str] = Counter()
    for path in own:
        if path.suffix == ".parquet" and path.parts[0] in ("data", "answers.parquet", "artifacts"):
            rows["/".join(path.parts[:2])] += parquet.read_metadata(path).num_rows
        if path.suffix == ".json" and path.parts[0] != "mlruns":
            json.loads(path.read_text(encoding="utf-8"))
    found["rows"] = dict(sorted(rows.items()))
    found["files"] = sorted(
        {"/".join(path.parts[:2]) for path in own if path.parts[0] in ("artifacts", "data", "reports")}
    )
    if not registry.is_empty():
        with connection(registry.tracking_uri()) as client:
            name = registry.model_name()
            models = client.search_registered_models(filter_string=f"name = '{name}'")
            found["aliases"] = {alias: str(number) for alias, number in models[0].aliases.items()} if models else {}
            versions = client.search_model_versions(f"name = '{name}'") if models else []
            found["versions"] = sorted(int(each.version) for each in versions)
        for number in found["versions"]:
            with registry.download(registry.get(str(number)).uri):
                pass  # it is what was registered
    return found


def _aside(do: Callable[[], None]) -> None:
    """Do something in a process of its own: what it loads of a project stays there."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            do()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def build(folder: Path) -> Path:
    """Compile the shim, and return it."""
    made = folder / "faults.so"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(made), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return made


def plan(draw: random.Random, faults: int) -> list[tuple[Verb, str]]:
    """Return which verb meets which fault: each pair as often as the others, in a random order."""
    pairs = [(verb, fault) for verb in VERBS for fault in FAULTS]
    asked = [pairs[at % len(pairs)] for at in range(faults)]
    draw.shuffle(asked)
    return asked


def _work(job: tuple[int, str, list[tuple[Verb, str]], float]) -> list[Outcome]:
    """Be one worker; the process was started with the shim."""
    number, folder, asked, deadline = job
    for name in LOADED:
        import_module(name)
    from tests.engine.support.project import original

    original("classification")
    campaign = Campaign(Path(folder) / f"worker-{number}", ctypes.CDLL(os.environ[ARMED]), random.Random(number))  # noqa: S311 - repeatable
    campaign.folder.mkdir()
    campaign.begin()
    outcomes = []
    for verb, fault in asked:
        if time.monotonic() > deadline:
            break
        outcomes.append(campaign.strike(verb, fault))
        if outcomes[-1].wrong:
            print(f"{verb.words} {fault} at {outcomes[-1].moment}: {outcomes[-1].wrong}", flush=True)
    return outcomes


def run(seed: int, faults: int, workers: int, minutes: float) -> list[Outcome]:
    """Run a campaign, and return what came of each fault."""
    asked = plan(random.Random(seed), faults)  # noqa: S311 - repeatable
    deadline = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        library = build(Path(folder))
        os.environ |= {"LD_PRELOAD": str(library), ARMED: str(library), "OMP_NUM_THREADS": "1"}
        jobs = [(seed * 1000 + each, folder, asked[each::workers], deadline) for each in range(workers)]
        try:
            context = get_context("spawn")
            with context.Pool(workers) as pool:
                return [outcome for part in pool.map(_work, jobs, chunksize=1) for outcome in part]
        finally:
            for name in ("LD_PRELOAD", ARMED):
                os.environ.pop(name, None)


def table(outcomes: list[Outcome]) -> Iterator[str]:
    """Yield a Markdown table: for each verb and fault, how many were tried, met the verb, and went wrong."""
    yield "| verb | " + " | ".join(FAULTS) + " |"
    yield "|---|" + "---|" * len(FAULTS)
    for name in dict.fromkeys(verb.name for verb in VERBS):
        cells = []
        for fault in FAULTS:
            own = [each for each in outcomes if (each.verb, each.fault) == (name, fault)]
            wrong = sum(bool(each.wrong) for each in own)
            cells.append(f"{len(own)} ({sum(each.struck for each in own)})" + (f", **{wrong} wrong**" if wrong else ""))
        yield f"| {name} | " + " | ".join(cells) + " |"
    torn, wrong = sum(each.torn for each in outcomes), sum(bool(each.wrong) for each in outcomes)
    yield ""
    yield f"{len(outcomes)} faults, of which {sum(each.struck for each in outcomes)} met the verb (in brackets); "
    yield f"{torn} files torn; {wrong} went wrong."


def main() -> int:
    """Run a campaign as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=25.0, help="No fault begins after that.")
    asked = parser.parse_args()
    outcomes = run(asked.seed, asked.faults, asked.workers, asked.minutes)
    print("\n".join(table(outcomes)))
    return int(any(each.wrong for each in outcomes))


if __name__ == "__main__":
    raise SystemExit(main())
