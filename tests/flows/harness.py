"""What the flows of all providers are run with: a project, a remote, and a note of every verb that was run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands.rendering import TEMPLATE, clean_environment, render

from ..conftest import DEMANDED, UV, commit, need
from ..support.models import FAULTY, REGISTER

TOOLS = TEMPLATE / ".tools"  # npm's: .ci/run installs them
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.com")

# What each flow runs, whatever the provider. Every executed run is compared with this, so all providers are equal.
FLOWS: dict[str, list[str]] = {
    "check": ["check --reports", "scan", "fetch", "run --until evaluate", "report --publish"],
    "train after a push": ["fetch", "run", "report --publish"],
    "train": ["fetch", "retrain", "report --publish"],
    "deploy": ["deploy --to staging --yes", "status", "deploy --to production --yes", "status"],
    "deploy, batch": ["promote"],
    "monitor": ["monitor --respond"],
    "monitor, batch": ["fetch", "score", "monitor --respond"],
    "update-template": ["update-template --propose"],
    # On a cloud `check` and `deploy` run what they run elsewhere; there the schedule of batch scores, not `monitor`.
    "train after a push, cloud": ["fetch", "image", "run --submit", "report --publish"],
    "train, cloud": ["fetch", "image", "retrain --submit", "report --publish"],
    "monitor, cloud": ["monitor --respond"],
    "infrastructure on a change": ["infrastructure --plan --publish"],
    "infrastructure": [
        "infrastructure staging --plan --publish", "infrastructure staging --apply --yes",
        "infrastructure production --plan --publish", "infrastructure production --apply --yes",
    ],
    "infrastructure, destroy": ["stop staging", "infrastructure staging --destroy --yes"],
}  # fmt: skip
# As whom each flow logs in to the cloud, in this order.
LOGINS: dict[str, list[str]] = {
    "train": ["ci-train", "staging--deploy", "production--deploy"],
    "monitor": ["ci-train"],
    "infrastructure on a change": ["ci-plan"],
    "infrastructure": ["ci-plan", "staging--apply", "ci-plan", "production--apply"],
    "infrastructure, destroy": ["staging--deploy", "staging--apply"],
}
# Short waits: what is proved is that the steps follow each other, not that a canary waits half a minute.
SHORT = {
    "model": {"trees": 60},
    "gate": {"bootstrap_samples": 50},
    "deploy": {"load_seconds": 0.5, "load_connections": 2, "maximum_p99_ms": 5000.0, "canary_seconds": 2.0,
               "canary_requests": 10, "maximum_latency_ratio": 50.0},
    "monitor": {"minimum_rows": 200, "windows": 1, "red_windows": 1},
    "serve": {"capture_seconds": 0.5},
}  # fmt: skip
# Kept of the project's tests: that all of them pass has its own test (tests/test_execution.py).
KEPT_TESTS = {"conftest.py", "small_project.py", "test_params.py", "problem"}

SHIM = """#!/usr/bin/env bash
# Writes down which verb is run, then runs it. What is installed already is not installed again.
if [[ "$1" == sync && "${{UV_NO_SYNC:-}}" == 1 ]]; then
  exit 0
fi
if [[ "$1" == run && "$2" == {package} ]]; then
  printf '%s\\n' "${{*:3}}" >> {log}
  {instead}
fi
exec {uv} "$@"
"""
# What a verb that lets the cloud's machines work does in a flow, but for that work, which tests/aws proves: it asks the
# cloud, as whom the flow has logged in, and hands on what later jobs need.
STAND_IN = """
import json, os, sys
from pathlib import Path

from {package}.hosting import host
from {package}.platform import account

role = account.client("sts").get_caller_identity()["Arn"].split("/")[1]
given = {{name: os.environ.get(name, "") for name in ("MODEL_VERSION", "MLFLOW_TRACKING_URI", "RETRAIN_REASON")}}
with open({notes!r}, "a", encoding="utf-8") as file:
    file.write(json.dumps({{"verb": " ".join(sys.argv[1:]), "role": role, **given}}) + "\\n")
Path("reports").mkdir(exist_ok=True)
if "--submit" in sys.argv:
    Path("artifacts/model").mkdir(parents=True, exist_ok=True)
    Path("artifacts/model/model.onnx").write_text("a model", encoding="utf-8")
    host.set_output("version", "1")
elif sys.argv[1] == "deploy":
    host.set_output("version", given["MODEL_VERSION"])
"""
STOOD_IN = ("deploy", "image", "monitor", "retrain --submit", "run --submit", "status")


class Hosted:
    """A rendered and committed project with a bare remote, ready for a provider's runner."""

    def __init__(self, folder: Path, package: str) -> None:
        """Keep the folder; what belongs to the run lies beside it."""
        self.folder = folder
        self.package = package
        self.origin = folder.parent / "origin.git"
        self.state = folder.parent / "state"
        # All jobs use one installation, where each would make its own: that costs minutes, and shows nothing new
        # (tests/test_execution.py installs projects afresh). A benchmark empties this.
        self.installed = {
            "UV_PROJECT_ENVIRONMENT": str(folder.parent / "venv"),
            "UV_NO_SYNC": "1",
            "PYTHONPATH": str(folder / "src"),
            "MYPY_CACHE_DIR": str(folder.parent / "mypy"),
        }
        self._log = folder.parent / "verbs.log"
        self._bin = folder.parent / "bin"
        self._read = 0
        self._notes = folder.parent / "notes.jsonl"
        self._bin.mkdir(exist_ok=True)
        self._shim(":")

    def _shim(self, instead: str) -> None:
        shim, uv = self._bin / "uv", shlex.quote(shutil.which(UV) or UV)
        text = SHIM.format(package=self.package, log=shlex.quote(str(self._log)), uv=uv, instead=instead)
        shim.write_text(text, encoding="utf-8")
        shim.chmod(shim.stat().st_mode | stat.S_IXUSR)

    def stand_in(self) -> None:
        """Let a stand-in take the place of the verbs that let the cloud's machines work."""
        script = self.folder.parent / "stand_in.py"
        script.write_text(STAND_IN.format(package=self.package, notes=str(self._notes)), encoding="utf-8")
        verbs = "|".join(f"{verb} *".replace(" ", "\\ ") for verb in STOOD_IN)
        uv, path = shlex.quote(shutil.which(UV) or UV), shlex.quote(str(script))
        self._shim(f'case "${{*:3}} " in {verbs}) exec {uv} run --quiet python {path} "${{@:3}}" ;; esac')

    def notes(self) -> list[dict[str, str]]:
        """Return what the stand-in has noted since the last call: the verb, as whom it was run, what it was given."""
        lines = self._notes.read_text(encoding="utf-8").splitlines() if self._notes.exists() else []
        self._notes.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def git(self, *words: str) -> str:
        """Run git in the project and return what it prints."""
        done = subprocess.run([*GIT, *words], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        """Commit everything and push it to the remote's branch of the same name."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--no-verify", "--allow-empty", f"--message={message}")
        self.git("push", "--quiet", "--force", "origin", "HEAD")

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text in a file, and commit."""
        file = self.folder / path
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new), encoding="utf-8")
        self.commit(f"Change {path}")

    def set(self, **changes: Any) -> None:
        """Change params.yaml, such as gate__threshold=0.99, and commit."""
        file = self.folder / "params.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        for name, value in changes.items():
            section, key = name.split("__")
            content[section][key] = value
        file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
        self.commit("Change params.yaml")

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a runner: `uv` writes down each verb; nothing tells of another CI provider."""
        kept = {name: value for name, value in clean_environment().items() if not name.startswith(("GITHUB_", "CI_"))}
        for name in ("CI", "MLFLOW_TRACKING_URI", "PROJECT_STATE", "PYTHONDONTWRITEBYTECODE"):
            kept.pop(name, None)
        path = f"{self._bin}{os.pathsep}{kept['PATH']}"
        return kept | {"PATH": path, "OMP_NUM_THREADS": "1"} | self.installed | more

    def verbs(self) -> list[str]:
        """Return the project's verbs that were run since the last call, in the order in which they began."""
        lines = self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []
        new, self._read = lines[self._read :], len(lines)
        return new

    def verb(self, *words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a verb by hand, as on the machine whose state the flows share, without writing it down."""
        env = (
            clean_environment()
            | self.installed
            | {"OMP_NUM_THREADS": "1", "PROJECT_STATE": str(self.state)}
            | environment
        )
        command = [UV, "run", "--quiet", self.package, *words]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    @contextmanager
    def changed(self, **params: Any) -> Iterator[None]:
        """Let a test commit what it likes, first of all changes of params.yaml; afterwards all is as before."""
        before = self.git("rev-parse", "HEAD")
        try:
            if params:
                self.set(**params)
            yield
        finally:
            self.git("switch", "--quiet", "--discard-changes", "main")
            self.git("reset", "--quiet", "--hard", before)
            self.git("push", "--quiet", "--force", "origin", "main")
            shutil.rmtree(self.state, ignore_errors=True)

    def pushed_file(self, branch: str, path: str) -> str:
        """Return a file of a branch of the remote."""
        show = ["git", f"--git-dir={self.origin}", "show", f"{branch}:{path}"]
        return subprocess.run(show, capture_output=True, text=True, check=True).stdout

    def status(self) -> Any:
        """Return what `status` tells of each environment; how well they are, the caller judges."""
        env = clean_environment() | self.installed | {"PROJECT_STATE": str(self.state)}
        command = [UV, "run", "--quiet", self.package, "status", "--json"]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        return json.loads(done.stdout)


class Deployed:
    """A project whose flow `train` has made version 1 and deployed it; its services are stopped at the end."""

    def __init__(self, project: Hosted, train: Callable[[Hosted], tuple[Any, Path]]) -> None:
        """Bring a model that can be made to fail, and run the flow.

        Args:
            project: a fresh one.
            train: runs the flow `train`, and returns the run and the model that it kept.
        """
        self.project = project
        (project.folder / f"src/{project.package}/problem/faulty.py").write_text(FAULTY, encoding="utf-8")
        project.commit("A model that can be made to fail")
        self.trained, model = train(project)
        self.verbs = project.verbs()
        self._made = 0
        # What `train` kept is the model from which the tests make others.
        shutil.copytree(model, project.folder / "artifacts/model")

    def python(self, code: str, *words: str) -> str:
        """Run Python code in the project, on the state that the flows share, and return what it prints."""
        env = self.project.environment(PROJECT_STATE=str(self.project.state))
        command = [UV, "run", "--quiet", "python", "-c", code, *words]
        done = subprocess.run(command, cwd=self.project.folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def register(self, fault: str, *, passed: bool) -> str:
        """Register a challenger, as if it had passed staging, or not, and return its version."""
        self._made += 1
        code = REGISTER.format(package=self.project.package)
        return self.python(code, fault, "passed" if passed else "", str(self._made)).split()[-1]

    def runs(self) -> dict[str, str]:
        """Return the version that the service of each environment says it runs."""
        return {name: each["found"]["stable"] for name, each in self.project.status().items()}

    def champion(self) -> str:
        """Return the champion's version."""
        code = f"from {self.project.package} import registry; print(registry.find(registry.CHAMPION).number)"
        return self.python(code).strip()


class Releases:
    """A copy of the template with two releases, from whose first a project comes: the second changes one file."""

    before, after = "1.0.0", "1.1.0"
    file, added = "registry.py", "\n# newer\n"

    def __init__(self, folder: Path) -> None:
        """Make the copy."""
        self._folder = folder
        left_out = shutil.ignore_patterns(".git", ".venv", ".tools", ".*_cache", ".hypothesis", "__pycache__")
        shutil.copytree(TEMPLATE, folder, ignore=left_out)
        subprocess.run(["git", "init", "--quiet", "--initial-branch=main"], cwd=folder, check=True)
        self._release(self.before)
        newer = folder / "template/{{ layer.base }}/src/{{ package_name }}" / self.file
        newer.write_text(newer.read_text(encoding="utf-8") + self.added, encoding="utf-8")
        self._release(self.after)

    def _release(self, version: str) -> None:
        for words in (["add", "--all"], ["commit", "--quiet", "--message", version], ["tag", f"v{version}"]):
            subprocess.run([*GIT, *words], cwd=self._folder, check=True)

    def are_the_source_of(self, project: Hosted) -> None:
        """Let the project come from the first release, and commit."""
        answers = project.folder / ".copier-answers.yml"
        content = yaml.safe_load(answers.read_text(encoding="utf-8"))
        content |= {"_src_path": str(self._folder), "_commit": f"v{self.before}"}
        answers.write_text(yaml.safe_dump(content), encoding="utf-8")
        project.commit("Come from a template with releases")

    def have_reached(self, project: Hosted) -> bool:
        """Tell whether the remote's branch for the second release brings what it changed."""
        path = f"src/{project.package}/{self.file}"
        return project.pushed_file(f"template/{self.after}", path).endswith(self.added)


def hosted(folder: Path, provider: str, **answers: Any) -> Hosted:
    """Render, shorten, commit and push a project for a provider, with few of its own tests.

    Args:
        folder: to render into; its parent takes what belongs to the run (origin.git, state, bin).
        provider: the answer of ci_provider.
        answers: further ones.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    answers = {"package_name": "churn", "serving_mode": "online", "ci_provider": provider, **answers}
    render(folder, answers)
    project = Hosted(folder, answers["package_name"])
    for path in (folder / "tests").iterdir():
        if path.name not in KEPT_TESTS:
            path.unlink()
    settings = folder / "pyproject.toml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("fail_under = 85", "fail_under = 1"))
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    for section, changes in SHORT.items():
        if section in params:
            params[section] |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    subprocess.run([UV, "sync", "--quiet"], cwd=folder, env=project.environment(UV_NO_SYNC="false"), check=True)
    commit(folder)
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(project.origin)], check=True)
    project.git("remote", "add", "origin", str(project.origin))
    project.git("push", "--quiet", "origin", "main")
    project.git("fetch", "--quiet", "origin")
    project.git("remote", "set-head", "origin", "main")
    return project


def node_tool(*parts: str) -> list[str]:
    """Return the command of an npm tool's script below .tools/node_modules, or skip; CI skips none."""
    script = TOOLS.joinpath("node_modules", *parts)
    node = need("node")
    if not script.exists():
        if DEMANDED:
            pytest.fail(f"{script} is not installed, and CI skips no test")
        pytest.skip(f"{'/'.join(parts)} is not installed: .ci/run says how")
    return [node, str(script)]


class _Advisories(BaseHTTPRequestHandler):
    """The two requests that `uv audit` makes of the database of vulnerabilities, and the one of `scan`."""

    known: Mapping[str, Mapping[str, Any]] = {}  # a package's advisory, by the package's name

    def do_POST(self) -> None:
        assert self.path == "/v1/querybatch", self.path
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        names = [query["package"]["name"] for query in asked]
        found = [self.known.get(name) for name in names]
        results = [{"vulns": [{"id": each["id"], "modified": each["modified"]}]} if each else {} for each in found]
        self._answer({"results": results})

    def do_GET(self) -> None:
        wanted = self.path.removeprefix("/v1/vulns/")
        self._answer(next((each for each in self.known.values() if each["id"] == wanted), None))

    def _answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name of the base class
        pass


def advisory(package: str, level: str) -> dict[str, Any]:
    """Return an advisory about all versions of a package, in the format of osv.dev's schema."""
    moment = "2026-01-01T00:00:00Z"
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999"}]}]
    return {
        "id": "GHSA-aaaa-bbbb-cccc", "schema_version": "1.6.0", "published": moment, "modified": moment,
        "aliases": ["CVE-2026-0001"], "summary": "An advisory for the test", "database_specific": {"severity": level},
        "affected": [{"package": {"name": package, "ecosystem": "PyPI"}, "ranges": ranges}],
    }  # fmt: skip


@contextmanager
def vulnerabilities(known: Mapping[str, Mapping[str, Any]] | None = None) -> Iterator[str]:
    """Serve a database of vulnerabilities on loopback and yield its address, for OSV_URL.

    Args:
        known: advisories by the package's name; none: nothing is vulnerable.
    """
    handler = type("Handler", (_Advisories,), {"known": known or {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
