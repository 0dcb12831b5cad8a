"""Make what the benchmarks time: the template as a repository, a rendered project, tools and peers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .timing import environment, seconds, working

ROOT = Path(__file__).resolve().parent.parent
TAG = "v0.0.0"
DATA = "data/raw/simulated.parquet"
PREDICTIONS = "predictions.parquet"
COPIER = (sys.executable, "-m", "copier")
SCRIPTS = "Scripts" if os.name == "nt" else "bin"

# Commits need a name, whoever runs the benchmark. Nothing measured tells its makers that it was.
IDENTITY = {
    "GIT_AUTHOR_NAME": "Benchmark",
    "GIT_AUTHOR_EMAIL": "benchmark@example.com",
    "GIT_COMMITTER_NAME": "Benchmark",
    "GIT_COMMITTER_EMAIL": "benchmark@example.com",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "commit.gpgsign",
    "GIT_CONFIG_VALUE_0": "false",
    "DO_NOT_TRACK": "1",
}

ONE_FILE = {
    "copier.yml": "_subdirectory: template\n\nproject_name:\n  type: str\n  default: One file\n",
    "template/README.md.jinja": "# {{ project_name }}\n",
}


@contextmanager
def workspace() -> Iterator[Path]:
    """Give an empty folder that is deleted at the end, with the temporary files that the timed commands leave."""
    with tempfile.TemporaryDirectory(prefix="copier-mlops-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        temporary = folder / "tmp"
        temporary.mkdir()
        os.environ.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary)))
        yield folder


def commit(folder: Path) -> float:
    """Make a folder a git repository with one commit and return the seconds that it took."""
    env = environment(IDENTITY)
    commands = (
        ("git", "init", "--quiet", "--initial-branch=main"),
        ("git", "add", "."),
        ("git", "commit", "--quiet", "--message=Start"),
    )
    return sum(seconds(command, folder, env) for command in commands)


def clone(source: str, target: Path, *options: str) -> Path:
    """Clone a repository from a path or URL, so that the network is in no figure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    local = Path(source).expanduser()
    address = str(local.resolve()) if local.exists() else source
    with working(f"cloning {source}"):
        seconds(("git", "clone", "--quiet", *options, address, target), target.parent)
    return target


def tag(folder: Path) -> Path:
    """Give a repository the one tag that Copier shall take."""
    seconds(("git", "tag", TAG), folder, environment(IDENTITY))
    return folder


def clone_template(folder: Path) -> Path:
    """Clone this template's last commit, in one pack as from a host; changes that are not committed are not in it."""
    return tag(clone(str(ROOT), folder / "template", "--no-tags", "--no-local"))


def one_file_template(folder: Path) -> Path:
    """Make the smallest template there is: a repository with one question and one file."""
    target = folder / "one-file"
    for name, text in ONE_FILE.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text, encoding="utf-8")
    commit(target)
    return tag(target)


def render(template: Path, target: Path, answers: Sequence[str] = ()) -> float:
    """Copy a template with its defaults, or other `answers` such as `serving_mode=online`; return the seconds."""
    data = [f"--data={answer}" for answer in answers]
    return seconds((*COPIER, "copy", "--defaults", "--quiet", *data, template, target), template.parent)


def install_tool(folder: Path, name: str, package: str, extra: tuple[str, ...] = ()) -> Path:
    """Install a command-line tool of a package as users do, but into the workspace, and return its path."""
    env = environment({"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "tools" / "bin")})
    also = [f"--with={requirement}" for requirement in extra]
    with working(f"installing {package}"):
        seconds(("uv", "tool", "install", "--quiet", *also, package), folder, env)
    return folder / "tools" / "bin" / (f"{name}.exe" if os.name == "nt" else name)


@dataclass(frozen=True)
class Project:
    """A project of this template, rendered with the defaults and installed."""

    folder: Path
    package: str = "churn"

    @property
    def scripts(self) -> Path:
        """The folder of its environment's commands."""
        return self.folder / ".venv" / SCRIPTS

    @property
    def env(self) -> dict[str, str]:
        """The variables of an activated environment."""
        return environment(IDENTITY, path=[self.scripts])

    def verb(self, *words: str) -> tuple[str, ...]:
        """Return the command line of a verb, without `uv run` in front."""
        return (str(self.scripts / self.package), *words)

    def python(self, *words: str) -> tuple[str, ...]:
        """Return a command line of the environment's Python."""
        return (str(self.scripts / "python"), *words)


def install_environment(folder: Path, name: str, requirements: Sequence[str]) -> Path:
    """Install packages into an environment of their own in the workspace and return the folder of its commands."""
    place = folder / "environments" / name
    if place.exists():
        return place / SCRIPTS
    with working(f"installing {', '.join(requirements)}"):
        seconds(("uv", "venv", "--quiet", place), folder, environment())
        seconds(("uv", "pip", "install", "--quiet", f"--python={place}", *requirements), folder, environment())
    return place / SCRIPTS


def make_project(folder: Path, answers: Sequence[str] = ()) -> Project:
    """Render the template and install the project."""
    target = folder / "churn"
    with working("rendering and installing a project"):
        render(clone_template(folder), target, answers)
        commit(target)
        seconds(("uv", "sync", "--quiet"), target, environment())
    return Project(target)


def chosen_project(folder: Path, existing: Path | None, *answers: str) -> Project:
    """Return a project that is there already, rendered with `answers` and installed, or make one."""
    return Project(existing.resolve()) if existing else make_project(folder, answers)


def versions(project: Project, *names: str) -> list[str]:
    """Return requirements that bring the same versions of packages as the project has."""
    listed = subprocess.run(
        ("uv", "pip", "freeze", f"--python={project.scripts / 'python'}"),
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in listed.stdout.splitlines() if line.partition("==")[0] in names]


def run_everything(project: Project) -> None:
    """Simulate data and bring a first model into the registry."""
    with working("simulating data, training and registering a first model"):
        seconds(project.verb("simulate"), project.folder, project.env)
        seconds(project.verb("run"), project.folder, project.env)
