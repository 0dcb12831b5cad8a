"""Time the way from an empty folder to a registered model and its first predictions, packages cached.

Kedro's spaceflights-pandas ends with a trained and judged model, without predictions for new rows and
without a registry. ZenML's template-e2e-batch searches over hyperparameters, and registers, deploys and predicts.
Neither they nor this template are changed for the benchmark.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .project import (
    DATA,
    IDENTITY,
    PREDICTIONS,
    SCRIPTS,
    clone,
    clone_template,
    commit,
    install_tool,
    render,
    workspace,
)
from .timing import CommandError, Comparison, Subject, arguments, environment, measure, progress, report, seconds

OURS = "copier-mlops"
KEDRO = "Kedro spaceflights-pandas"
ZENML = "ZenML template-e2e-batch"
GOALS = {KEDRO: 1.5, ZENML: 0.35}
CHOICES = {"kedro": KEDRO, "zenml": ZENML}

# Instead of `make setup`, which installs with pip what no local run needs: the integrations of AWS, Slack, Kubeflow
# and Kubernetes. Fewer packages favour ZenML. evidently does not say that it needs pandas below 3.
ZENML_REQUIREMENTS = ("zenml[local,server]", "mlflow", "scikit-learn", "evidently>=0.7", "pandas<3", "pyarrow", "click")

Step = tuple[str, Callable[[Path], float]]  # the step's name, and what does it in the journey's folder


@dataclass
class Journey:
    """Steps that lead from an empty folder to a model.

    Attributes:
        name: how tables call it.
        steps: in their order; each is given the new, empty folder.
        installed: the number of steps after which all packages are cached; the warm-up ends there.
        afterwards: what cleans up, timed by nobody.
        times: the seconds of each round by step.
    """

    name: str
    place: Path
    steps: list[Step]
    installed: int
    afterwards: Callable[[Path], None] | None = None
    times: dict[str, list[float]] = field(default_factory=dict)
    number: Iterator[int] = field(default_factory=itertools.count)

    def subject(self, rounds: int | None = None) -> Subject:
        """Return the journey as something to time."""
        return Subject(self.name, self.travel, warm_up=self.warm_up, rounds=rounds)

    def warm_up(self) -> None:
        """Go only as far as the packages."""
        self._take(self.steps[: self.installed])

    def travel(self) -> float:
        """Go all the way and return the seconds."""
        taken = self._take(self.steps)
        for name, elapsed in taken.items():
            self.times.setdefault(name, []).append(elapsed)
        return sum(taken.values())

    def _take(self, steps: list[Step]) -> dict[str, float]:
        folder = self.place / str(next(self.number))
        folder.mkdir(parents=True)
        taken = {}
        try:
            for name, action in steps:
                taken[name] = action(folder)
                progress.print(f"    {taken[name]:.2f} s  {name}", markup=False, highlight=False)
        finally:
            if self.afterwards:
                self.afterwards(folder)
            shutil.rmtree(folder, ignore_errors=True)
        return taken


def ours(folder: Path) -> Journey:
    """This template, by the commands of the message that it ends with."""
    template = clone_template(folder)
    env = environment(IDENTITY)

    def inside(*command: str) -> Callable[[Path], float]:
        return lambda place: seconds(command, place / "churn", env)

    steps: list[Step] = [
        ("copier copy", lambda place: render(template, place / "churn")),
        ("git init, add, commit", lambda place: commit(place / "churn")),
        ("uv sync", inside("uv", "sync", "--quiet")),
        ("uv run churn simulate", inside("uv", "run", "churn", "simulate")),
        ("uv run churn run", inside("uv", "run", "churn", "run")),
        ("uv run churn predict", inside("uv", "run", "churn", "predict", DATA, PREDICTIONS)),
    ]
    return Journey(OURS, folder / "ours", steps, installed=3)


def kedro(folder: Path, source: str) -> Journey:
    """Kedro's starter with its own data."""
    starters = clone(source, folder / "kedro-starters")
    tool = install_tool(folder, "kedro", "kedro")
    env = environment({"DO_NOT_TRACK": "1", "KEDRO_DISABLE_TELEMETRY": "1"})
    new = (tool, "new", f"--starter={starters}", "--directory=spaceflights-pandas", "--name=Model", "--telemetry=no")
    steps: list[Step] = [
        ("kedro new", lambda place: seconds(new, place, env)),
        ("uv venv and install", lambda place: _install(place / "model", ("-r", "requirements.txt"), env)),
        ("kedro run", lambda place: seconds((_script(place / "model", "kedro"), "run"), place / "model", env)),
    ]
    return Journey(KEDRO, folder / "kedro", steps, installed=2)


def zenml(folder: Path, source: str) -> Journey:
    """ZenML's template with the local stack that its README offers."""
    if shutil.which("make") is None:
        raise CommandError("its stack is made with make, which is not installed.")
    template = clone(source, folder / "zenml-template")
    copier = install_tool(folder, "copier", "copier", extra=("jinja2-time", "ruff", "black"))
    new = (copier, "copy", "--defaults", "--trust", "--quiet", template)

    def inside(*command: str) -> Callable[[Path], float]:
        return lambda place: seconds(command, place / "model", _zenml_environment(place))

    def install(place: Path) -> float:
        return _install(place / "model", ZENML_REQUIREMENTS, _zenml_environment(place))

    steps: list[Step] = [
        ("copier copy", lambda place: seconds((*new, place / "model"), place, _zenml_environment(place))),
        ("uv venv and install", install),
        ("zenml init", inside("zenml", "init")),
        ("make install-stack-local", inside("make", "install-stack-local")),
        ("python run.py", inside("python", "run.py")),
    ]
    return Journey(ZENML, folder / "zenml", steps, installed=2, afterwards=_stop_services)


def _zenml_environment(place: Path) -> dict[str, str]:
    """Keep ZenML's settings and database in the journey's folder, and let it tell nobody."""
    scripts = place / "model" / ".venv" / SCRIPTS
    extra = {
        "ZENML_CONFIG_PATH": str(place / "settings"),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "AUTO_OPEN_DASHBOARD": "false",
        "DO_NOT_TRACK": "1",
        "VIRTUAL_ENV": str(scripts.parent),
    }
    return environment(extra, path=[scripts])


def _stop_services(place: Path) -> None:
    """End the prediction services that ZenML leaves running; each has written its process number."""
    for file in (place / "settings").glob("local_stores/*/*/service.pid"):
        with suppress(ValueError, OSError):
            number = int(file.read_text().split()[0])
            os.kill(number, signal.SIGTERM)
            for _ in range(50):
                time.sleep(0.2)
                os.kill(number, 0)  # raises when it has ended
            os.kill(number, signal.SIGKILL)


def _install(folder: Path, requirements: Iterable[str], env: Mapping[str, str]) -> float:
    made = seconds(("uv", "venv", "--quiet"), folder, env)
    return made + seconds(("uv", "pip", "install", "--quiet", "--python=.venv", *requirements), folder, env)


def _script(folder: Path, name: str) -> Path:
    return folder / ".venv" / SCRIPTS / name


def main() -> int:
    """Run the benchmark."""
    parser = arguments(__doc__ or "", rounds=3)
    parser.add_argument("--against", nargs="*", choices=sorted(CHOICES), default=sorted(CHOICES), help="default: both")
    parser.add_argument("--zenml-rounds", type=int, default=2, help="ZenML is slow: its rounds (default: %(default)s)")
    parser.add_argument(
        "--kedro-starters", default="https://github.com/kedro-org/kedro-starters", metavar="PATH_OR_URL"
    )
    parser.add_argument(
        "--zenml-template", default="https://github.com/zenml-io/template-e2e-batch", metavar="PATH_OR_URL"
    )
    options = parser.parse_args()
    skipped = {}
    with workspace() as folder:
        makers = {
            "kedro": lambda: kedro(folder, options.kedro_starters),
            "zenml": lambda: zenml(folder, options.zenml_template),
        }
        journeys = [ours(folder)]
        for name in options.against:
            try:
                journeys.append(makers[name]())
            except CommandError as error:
                skipped[CHOICES[name]] = str(error)
                progress.print(f"{CHOICES[name]} is left out: {error}", markup=False, highlight=False)
        measured = measure(
            [journey.subject(options.zenml_rounds if journey.name == ZENML else None) for journey in journeys],
            options.rounds,
            optional=frozenset(GOALS),
        )
    measured.skipped |= skipped
    return report(
        "From an empty folder to a model and predictions",
        measured,
        [Comparison(OURS, CHOICES[name], GOALS[CHOICES[name]]) for name in options.against],
        options,
        steps={journey.name: journey.times for journey in journeys if journey.name in measured.values},
    )


if __name__ == "__main__":
    sys.exit(main())
