"""Time the online service against what else would serve the same model: on one core, one row a request.

MLflow's and BentoML's servers have the fitted scikit-learn pipeline. FastAPI is what one would write by hand: a
Pydantic model of the row and ONNX Runtime. All serve the same trees, and every one's answers are compared with the
Predictor's before its load begins. Validation, metrics and capture are on in `churn serve`; the references have what
they have by default. Bare uvicorn answers a constant: the limit. The server has one core and the load generator, wrk,
another; connections stay open.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from .processes import ONE_THREAD, PEERS, Running, Server, ask, cores, load, memory, processor_seconds, running
from .project import Project, chosen_project, install_environment, versions, workspace
from .timing import (
    CommandError,
    Comparison,
    Section,
    Several,
    arguments,
    environment,
    measure_several,
    progress,
    report_sections,
    seconds,
    working,
)

OURS, WITHOUT_CAPTURE = "churn serve", "capture off"
MLFLOW, BENTOML, FASTAPI, BARE = "MLflow", "BentoML", "FastAPI", "bare uvicorn"
PEERS_BY_OPTION = {"mlflow": MLFLOW, "bentoml": BENTOML, "fastapi": FASTAPI, "bare": BARE}

ONE, MANY = 1, 16
READY, FIRST = "start to ready", "start to first answer"
PROCESSOR, MEMORY = "processor time of a request", "memory after the load"
LOST = "captures lost"
READY_SECONDS = 2.0
TOLERANCE = 1e-5  # of a probability
WARM_UP_SECONDS = 1
CAPTURED = re.compile(r'^service_captured_rows_total\{outcome="(\w+)"\} ([\d.e+]+)$', re.MULTILINE)


def rate(connections: int) -> str:
    """Return the name of the figure: requests per second over so many connections."""
    return f"rate at {connections}"


def _p50(connections: int) -> str:
    return f"p50 at {connections}"


def _p99(connections: int) -> str:
    return f"p99 at {connections}"


UNITS = {
    READY: "s",
    FIRST: "s",
    rate(ONE): "requests/s",
    rate(MANY): "requests/s",
    _p50(ONE): "ms",
    _p50(MANY): "ms",
    _p99(ONE): "ms",
    _p99(MANY): "ms",
    PROCESSOR: "ms",
    MEMORY: "MiB",
    LOST: "rows",
}
COMPARISONS = {
    rate(MANY): [
        Comparison(OURS, MLFLOW, 60, at_least=True),
        Comparison(OURS, BENTOML, 38, at_least=True),
        Comparison(OURS, FASTAPI),
        Comparison(OURS, BARE, 0.17, at_least=True),
        Comparison(OURS, WITHOUT_CAPTURE, 0.9, at_least=True),
    ],
    rate(ONE): [Comparison(OURS, peer) for peer in (*PEERS_BY_OPTION.values(), WITHOUT_CAPTURE)],
    _p99(MANY): [Comparison(OURS, FASTAPI, 1.0)],
    # What another program on the same core takes away is not in it, so it can be compared on a busy machine too.
    PROCESSOR: [Comparison(OURS, peer) for peer in (*PEERS_BY_OPTION.values(), WITHOUT_CAPTURE)],
    READY: [Comparison(OURS, None, READY_SECONDS)],
    FIRST: [Comparison(OURS, peer) for peer in (MLFLOW, BENTOML, FASTAPI)],
    MEMORY: [Comparison(OURS, peer) for peer in (MLFLOW, BENTOML, FASTAPI)],
    LOST: [Comparison(OURS, None, 0)],
}


def ours(project: Project, model: Path, folder: Path, *, capture: bool) -> Server:
    """Return the project's service with its default parameters, or without capture."""
    name = OURS if capture else WITHOUT_CAPTURE
    place = folder / name.replace(" ", "-")
    place.mkdir()
    parameters = (project.folder / "params.yaml").read_text(encoding="utf-8")
    changed, count = re.subn(
        r"^(serve:.*?^  capture:) \w+", rf"\1 {str(capture).lower()}", parameters, flags=re.MULTILINE | re.DOTALL
    )
    if count != 1:
        raise CommandError("params.yaml has no serve.capture.")
    (place / "params.yaml").write_text(changed, encoding="utf-8")
    shutil.copy(project.folder / "pyproject.toml", place)

    def look(port: int) -> dict[str, float]:
        _, metrics = ask(port, "GET", "/metrics")
        rows = {outcome: float(count) for outcome, count in CAPTURED.findall(metrics.decode())}
        return {LOST: rows["dropped"] + rows["lost"]}

    return Server(
        name,
        lambda port: project.verb("serve", str(model / "artifact"), "--port", str(port), "--captures", "captures"),
        place,
        project.env | ONE_THREAD,
        "/predict",
        body=lambda row: row,
        answer=lambda content: float(content["predictions"][0]["probability_1"]),
        ready="/health/ready",
        look=look,
    )


def mlflow(project: Project, model: Path, folder: Path) -> Server:
    """Return MLflow's scoring server with the fitted pipeline; it calls programs by name, so PATH must have them."""
    scripts = install_environment(folder, "mlflow", ["mlflow", *versions(project, "numpy", "scikit-learn")])
    env = environment({**ONE_THREAD, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}, path=[scripts])
    seconds((scripts / "python", PEERS / "mlflow_model.py", model), folder, env)
    command = (scripts / "mlflow", "models", "serve", "--model-uri", model / "mlflow-model", "--env-manager", "local")
    return Server(
        MLFLOW,
        lambda port: (*command, "--workers", "1", "--port", str(port)),
        folder,
        env,
        "/invocations",
        body=lambda row: {"dataframe_records": [row]},
        answer=lambda content: float(content["predictions"][0][1]),
    )


def bentoml(project: Project, model: Path, folder: Path) -> Server:
    """Return a BentoML service with the fitted pipeline."""
    packages = ["bentoml", "pandas", *versions(project, "numpy", "scikit-learn")]
    scripts = install_environment(folder, "bentoml", packages)
    extra = {"MODEL": str(model), "BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    command = (scripts / "bentoml", "serve", "bentoml_service:Classifier", "--working-dir", PEERS)
    return Server(
        BENTOML,
        lambda port: (*command, "--port", str(port)),
        folder,
        environment(ONE_THREAD | extra, path=[scripts]),
        "/predict",
        body=lambda row: {"row": row},
        answer=float,
    )


def uvicorn(project: Project, model: Path, folder: Path, name: str) -> Server:
    """Return the plain FastAPI service, or the constant, on the project's versions of uvicorn and its parts."""
    shared = versions(project, "uvicorn", "uvloop", "httptools", "numpy", "onnxruntime", "pydantic")
    scripts = install_environment(folder, "uvicorn", ["fastapi", *shared])
    module = {FASTAPI: "fastapi_service", BARE: "bare_service"}[name]
    command = (scripts / "uvicorn", f"{module}:app", "--app-dir", PEERS, "--no-access-log")
    return Server(
        name,
        lambda port: (*command, "--port", str(port)),
        folder,
        environment(ONE_THREAD | {"MODEL": str(model)}, path=[scripts]),
        "/predict",
        body=lambda row: row,
        answer=None if name == BARE else lambda content: float(content["probability"]),
    )


def check(server: Server, up: Running, model: Path) -> None:
    """Compare a server's answers with those of the Predictor.

    Raises:
        CommandError: an answer differs.
    """
    content = json.loads((model / "rows.json").read_text(encoding="utf-8"))
    if server.answer is None:
        return
    for row, expected in zip(content["rows"][:20], content["expected"][:20], strict=True):
        status, body = ask(up.port, "POST", server.path, json.dumps(server.body(row)).encode())
        answer = server.answer(json.loads(body)) if status == 200 else None
        if answer is None or abs(answer - expected) > TOLERANCE:
            raise CommandError(f"{server.name} answered {status} {body[:500]!r} where {expected} was expected.")


def one_round(server: Server, model: Path, folder: Path, duration: float) -> dict[str, float]:
    """Start a server, check it, load it, end it, and return its figures by kind.

    Raises:
        CommandError: it does not start, answers something else, or fails a request.
    """
    free = cores()
    core, other = (free[0], free[1]) if len(free) > 1 else (None, None)
    row = json.loads((model / "rows.json").read_text(encoding="utf-8"))["rows"][0]
    body = folder / "body.json"
    body.write_text(json.dumps(server.body(row)), encoding="utf-8")
    with running(server, body.read_bytes(), core, folder / "server.log") as up:
        check(server, up, model)
        load(up.port, server.path, body, MANY, WARM_UP_SECONDS, other)
        found = {FIRST: up.first} | ({} if up.ready is None else {READY: up.ready})
        for connections in (ONE, MANY):
            before = processor_seconds(up.process.pid)
            result = load(up.port, server.path, body, connections, duration, other)
            used = processor_seconds(up.process.pid) - before
            if result.errors:
                raise CommandError(f"{server.name}: {result.errors} requests failed at {connections} connections.")
            found |= {
                rate(connections): result.rate,
                _p50(connections): result.p50,
                _p99(connections): result.p99,
            }
        if used:
            found[PROCESSOR] = used * 1000 / result.requests
        held = memory(up.process.pid)
        if server.look:
            found |= server.look(up.port)
    return found | ({} if held is None else {MEMORY: held})


def subject(server: Server, model: Path, folder: Path, duration: float) -> Several:
    """Return a server as something to measure."""
    return Several(
        server.name,
        lambda: one_round(server, model, folder, duration),
        warm_up=lambda: one_round(server, model, folder, WARM_UP_SECONDS),
    )


def main() -> int:
    """Run the benchmark."""
    parser = arguments(__doc__ or "", rounds=5)
    parser.add_argument("--seconds", type=float, default=5, help="of each load, at least 1 (default: %(default)s)")
    parser.add_argument(
        "--against",
        nargs="*",
        choices=sorted(PEERS_BY_OPTION),
        default=sorted(PEERS_BY_OPTION),
        help="default: all of them",
    )
    parser.add_argument("--project", type=Path, help="a project that is rendered and installed, not the last commit")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.error("wrk is not installed: apt-get install wrk, or brew install wrk. It makes the load.")
    if len(cores()) < 2:
        progress.print("Without two cores and taskset the load disturbs what it measures: read no ratio.")
    skipped = {}
    with workspace() as folder:
        project = chosen_project(folder, options.project, "serving_mode=online")
        model = folder / "model"
        model.mkdir()
        with working("fitting the model"):
            seconds(project.python(str(PEERS / "twenty_columns.py"), "model", str(model)), project.folder, project.env)
        servers = [ours(project, model, folder, capture=capture) for capture in (True, False)]
        makers = {
            "mlflow": lambda: mlflow(project, model, folder),
            "bentoml": lambda: bentoml(project, model, folder),
            "fastapi": lambda: uvicorn(project, model, folder, FASTAPI),
            "bare": lambda: uvicorn(project, model, folder, BARE),
        }
        for name in options.against:
            try:
                servers.append(makers[name]())
            except CommandError as error:
                skipped[PEERS_BY_OPTION[name]] = str(error)
        measured = measure_several(
            [subject(server, model, folder, options.seconds) for server in servers],
            UNITS,
            options.rounds,
            optional=frozenset(PEERS_BY_OPTION.values()),
        )
    measured[FIRST].skipped |= skipped
    wanted = {OURS, WITHOUT_CAPTURE, None, *(PEERS_BY_OPTION[name] for name in options.against)}
    return report_sections(
        [
            Section(kind, each, [pair for pair in COMPARISONS.get(kind, ()) if pair.reference in wanted])
            for kind, each in measured.items()
            if each.values
        ],
        options,
    )


if __name__ == "__main__":
    sys.exit(main())
