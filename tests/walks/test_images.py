"""The image and the compose stack of rendered projects, built and run by Podman."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
import yaml

from commands.rendering import clean_environment, render
from tests.support import podman
from tests.support.answers import HOSTILE
from tests.support.projects import Installed
from tests.support.servers import free_port, wait_for
from tests.support.tools import UV, need

pytestmark = pytest.mark.slow

APP = 10001  # the user of the image
SITE = "/app/.venv/lib/python3*/site-packages"
MEGABYTE = 2**20


def lock(project: Path) -> None:
    subprocess.run([UV, "lock", "--quiet"], cwd=project, env=clean_environment(), check=True)


@contextmanager
def image_of(project: Path) -> Iterator[str]:
    """Build a project's image; give its name; remove it."""
    dockerfile = (project / "Dockerfile").read_text(encoding="utf-8")
    podman.base_images(re.findall(rf"{podman.UV_IMAGE}:(\S+)", dockerfile)[0])
    name = f"localhost/test-{uuid4().hex[:12]}"
    podman.call("build", "--quiet", "--tag", name, project)
    try:
        yield name
    finally:
        podman.call("rmi", "--force", name)


@contextmanager
def container(*words: str | Path) -> Iterator[str]:
    """Run a container in the background as careful platforms do; give its name; remove it."""
    name = f"test-{uuid4().hex[:12]}"
    careful = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    try:
        podman.call("run", "--detach", "--name", name, "--memory=512m", *careful, *words)
        yield name
    except AssertionError as error:
        error.add_note(podman.call("logs", name).stderr)
        raise
    finally:
        podman.call("rm", "--force", "--ignore", "--volumes", "--time=0", name)


def inside(image: str, command: str, *options: str) -> str:
    """Run a shell command in a new container and return what it prints."""
    return podman.call("run", "--rm", "--entrypoint=sh", *options, image, "-c", command).stdout.strip()


def ask(address: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data=data, headers={"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
        return json.load(answer)


def seconds_until(condition: Callable[[], Any], limit: float) -> float:
    """Return how long it took until a call neither raised nor returned something false."""
    begin = time.monotonic()
    while True:
        try:
            if condition():
                return time.monotonic() - begin
        except (OSError, urllib.error.URLError):
            pass
        assert time.monotonic() - begin < limit, f"not within {limit} s"
        time.sleep(0.02)


def processor_seconds(name: str) -> float:
    """Return how long the first process of a container has worked, in seconds of processor time."""
    spent = psutil.Process(int(podman.call("inspect", name, "--format={{.State.Pid}}").stdout)).cpu_times()
    return float(spent.user + spent.system)


def deployment_of(project: Installed) -> Path:
    """Make the folder that `deploy` makes, and return it."""
    registered = json.loads((project.folder / "reports/registration.json").read_text(encoding="utf-8"))
    folder = project.folder / "deployments"
    shutil.copytree(project.folder / "artifacts/shipped", folder / "models" / registered["identity"])
    stable = {"version": "1", "identity": registered["identity"], "registered_at": "2026-01-31T12:00:00+00:00"}
    (folder / "production").mkdir()
    content = json.dumps({"stable": stable, "canary": None})
    (folder / "production/deployment.json").write_text(content, encoding="utf-8")
    return folder


def example_of(project: Installed) -> dict[str, Any]:
    code = (
        f"import pandas as pd\nfrom {project.package}.problem import data\n"
        "rows = pd.read_parquet('data/raw/simulated.parquet').head(1).drop(columns=[data.TARGET])\n"
        "print(rows.to_json(orient='records', date_format='iso'))"
    )
    (row,) = json.loads(project.run("python", "-c", code).stdout)
    assert isinstance(row, dict)
    return row


def test_the_image_serves(trained: Installed, tmp_path: Path) -> None:
    deployments, row = deployment_of(trained), example_of(trained)
    project = tmp_path / "project"
    render(project, HOSTILE | {"serving_mode": "online"})
    (project / "uv.lock").unlink()
    refused = podman_build_without_lock(project)
    assert "uv.lock is not whole yet. Complete it with: uv lock." in refused
    lock(project)
    with image_of(project) as image:
        holds_what_it_needs_and_no_more(image)
        worked = answers_and_ends(image, deployments, row)
        # As SageMaker does: the verb alone, and the model where the platform puts it.
        port = free_port()
        model = trained.folder / "artifacts/model"
        mounted = [f"--volume={model}:/opt/ml/model:ro", f"--env=SAGEMAKER_BIND_TO_PORT={port}", "--network=host"]
        with container(*mounted, image, "serve") as name:
            seconds_until(lambda: ask(f"http://127.0.0.1:{port}/health/ready")["ready"], 15)
            # Beside other tests a start takes as long as they leave it; what it works is its own. Neighbours that share
            # a core's caches make that more, and nothing makes it less: of two starts the shorter one counts, beside
            # the shorter of two that import the libraries alone.
            worked = min(worked, processor_seconds(name))
        alone = min(float(inside_python(image, LIBRARIES)) for _ in range(2))
        assert worked <= 4 * alone, (
            f"ready after {worked:.2f} s of processor time; the libraries alone are {alone:.2f} s"
        )


def podman_build_without_lock(project: Path) -> str:
    dockerfile = (project / "Dockerfile").read_text(encoding="utf-8")
    podman.base_images(re.findall(rf"{podman.UV_IMAGE}:(\S+)", dockerfile)[0])
    return podman.call("build", "--quiet", project, code=None).stderr


def holds_what_it_needs_and_no_more(image: str) -> None:
    (about,) = json.loads(podman.call("inspect", image).stdout)
    labels = about["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == HOSTILE["project_name"]
    assert labels["org.opencontainers.image.description"] == HOSTILE["description"]
    assert about["Config"]["User"] == f"{APP}:{APP}"
    size = int(inside(image, f"du --summarize --bytes {SITE}").split()[0])
    assert size <= 200 * MEGABYTE, f"{size / MEGABYTE:.0f} MiB"
    programs = ["pip", "pip3", "uv", "gcc", "cc", "make", "git"]
    assert inside(image, f"python -c 'import shutil; print(*filter(shutil.which, {json.dumps(programs)}))'") == ""
    packages = inside(image, f"ls {SITE} /usr/local/lib/python3*/site-packages")
    for name in ("pandas", "sklearn", "mlflow", "pyarrow", "pip", "pytest", "matplotlib"):
        assert not re.search(rf"^{name}\b", packages, re.MULTILINE), name
    # As root: the image's own user could not look everywhere.
    caches = "-path '*/.cache/*' -o -path '/cache/*' -o -name '*_Packages' -o -path '/var/cache/apt/*.bin'"
    assert inside(image, f"find / -xdev \\( {caches} \\)", "--user=0") == ""
    assert inside(image, "env | grep ORT_DISABLE_TELEMETRY").endswith("=1")
    # What the project's user may write to is the place of the captures.
    assert inside(image, "find / -xdev -user app -not -path '/proc/*' | sort").split() == [
        "/app/data",
        "/app/data/captures",
    ]


def inside_python(image: str, code: str) -> str:
    """Run Python code in a new container and return what it prints."""
    return podman.call("run", "--rm", "--read-only", "--entrypoint=python", image, "-c", code).stdout.strip()


# What every service of a model imports, whatever serves it, and the processor time that this is.
LIBRARIES = "import os, msgspec, numpy, onnxruntime, uvicorn; print(sum(os.times()[:2]))"


def answers_and_ends(image: str, deployments: Path, row: dict[str, Any]) -> float:
    """Return the seconds of processor time after which it was ready."""
    port = free_port()
    mounted = [f"--volume={deployments}:/app/deployments:ro", f"--env=SAGEMAKER_BIND_TO_PORT={port}", "--network=host"]
    with container(*mounted, image, "serve", "deployments/production") as name:
        address = f"http://127.0.0.1:{port}"
        seconds_until(lambda: ask(f"{address}/health/ready")["ready"], 15)
        worked = processor_seconds(name)
        answer = ask(f"{address}/predict", row)
        assert answer["model_version"] == "1"
        assert len(answer["predictions"]) == 1
        podman.call("healthcheck", "run", name)
        assert podman.call("top", name, "huser").stdout.split() == ["HUSER", str(APP)]
        podman.call("exec", name, "sh", "-c", "! touch /app/x && ! touch /tmp/x && touch /app/data/captures/x")
        # SIGTERM: what has begun is answered, captures are written, and it ends by itself.
        begin = time.monotonic()
        podman.call("stop", "--time=30", name)
        assert time.monotonic() - begin < 10
        assert podman.call("inspect", name, "--format={{.State.ExitCode}}").stdout.strip() == "0"
        captures = podman.call("inspect", name, "--format={{(index .Mounts 0).Source}} {{(index .Mounts 1).Source}}")
        places = [Path(place) for place in captures.stdout.split()]
        assert [path for place in places for path in place.glob("production/*.parquet")], "no capture was kept"
        log = podman.call("logs", name)
        assert "telemetry" not in log.stdout + log.stderr
    return worked


def test_the_image_scores(trained: Installed, tmp_path: Path) -> None:
    project = tmp_path / "project"
    render(project, {"serving_mode": "batch"})
    lock(project)
    for name in ("params.yaml", "pyproject.toml"):  # without what belongs to the service
        shutil.copy(project / name, trained.folder)
    for path in (trained.folder, *trained.folder.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, APP, APP, follow_symlinks=False)
    with image_of(project) as image:
        assert "score" in podman.call("run", "--rm", image).stdout
        careful = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--network=none"]
        place = [f"--volume={trained.folder}:/work", "--workdir=/work"]
        words = ["score", "data/raw/simulated.parquet", "data/scored", "--model", "artifacts/model", "--json"]
        told = json.loads(podman.call("run", "--rm", *careful, *place, image, *words).stdout)
        assert told["scored"] == 8000
        packages = inside(image, f"ls {SITE}")
        for name in ("pandas", "sklearn", "mlflow", "starlette", "pytest"):
            assert not re.search(rf"^{name}\b", packages, re.MULTILINE), name
    assert (trained.folder / "data/scored/manifest.json").exists()
    assert "score_failed 0" in (trained.folder / "reports/monitoring/score.prom").read_text(encoding="utf-8")


# Debian's programs under the names of the images that compose.yaml asks for. Debian's are older, which is
# why the settings are tested with them: what an old version takes, a newer one does too.
STAND_IN = """\
FROM {base}
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends busybox > /dev/null \\
    && ln -s /bin/busybox /usr/bin/wget
COPY {program} /usr/bin/{program}
COPY share /usr/share/prometheus
RUN mkdir -p /{folder} && chown 65534:65534 /{folder}
VOLUME /{folder}
USER 65534:65534
ENTRYPOINT ["{program}"]
"""
PROGRAMS = {
    "reports": "prometheus-node-exporter",
    "prometheus": "prometheus",
    "alertmanager": "prometheus-alertmanager",
}


def test_the_stack_runs(trained: Installed, tmp_path: Path) -> None:
    """The service and what watches it; Grafana's and MLflow's images cannot be made from Debian's packages."""
    deployment_of(trained)
    folder = trained.folder
    captures = folder / "data/captures"
    captures.mkdir(parents=True, exist_ok=True)
    owner = f"{APP}:{APP}" if os.geteuid() == 0 else f"{os.getuid()}:{os.getgid()}"
    if os.geteuid() == 0:
        os.chown(captures, APP, APP)
    lock(folder)
    dockerfile = (folder / "Dockerfile").read_text(encoding="utf-8")
    podman.base_images(re.findall(rf"{podman.UV_IMAGE}:(\S+)", dockerfile)[0])
    text = (folder / "compose.yaml").read_text(encoding="utf-8")
    services = yaml.safe_load(text)["services"]
    ports = {published: free_port() for published in (8080, 9090, 9093)}
    for published, port in ports.items():
        text = text.replace(f"127.0.0.1:{published}:", f"127.0.0.1:{port}:")
    # A name of its own: what runs on this machine under the project's name is not touched.
    project = f"test-{uuid4().hex[:12]}"
    text = re.sub(r"^name: .*", f"name: {project}", text, flags=re.MULTILINE)
    (folder / "compose.yaml").write_text(text, encoding="utf-8")
    for service, program in PROGRAMS.items():
        if not podman.has(services[service]["image"]):
            stand_in(services[service]["image"], program, tmp_path / service)
    compose = [need("podman-compose")]
    containers = [f"{project}_{name}_1" for name in ("service", *PROGRAMS)]
    env = {"PWD": str(folder), "SERVICE_USER": owner}
    try:
        podman.call("up", "--build", "--detach", "service", *PROGRAMS, program=compose, cwd=folder, env=env)
        service, prometheus, alertmanager = (f"http://127.0.0.1:{port}" for port in ports.values())
        seconds_until(lambda: ask(f"{service}/health/ready")["ready"], 30)
        ask(f"{service}/predict", example_of(trained))
        query = f"{prometheus}/api/v1/query?query=up"
        up = {"service": "1", "reports": "1"}
        seconds_until(
            lambda: {each["metric"]["job"]: each["value"][1] for each in ask(query)["data"]["result"]} == up, 60
        )
        (active,) = ask(f"{prometheus}/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
        assert active["url"] == "http://alertmanager:9093/api/v2/alerts"
        assert ask(f"{prometheus}/api/v1/rules")["data"]["groups"]
        assert ask(f"{alertmanager}/api/v2/status")["config"]["original"]
        for name in containers:
            podman.call("healthcheck", "run", name)
    except (AssertionError, OSError) as error:
        for name in containers:
            error.add_note(f"{name}: {podman.call('logs', '--tail=5', name).stderr}")
        raise
    finally:
        podman.call("rm", "--force", "--ignore", "--time=5", *containers)
        podman.call("down", "--volumes", program=compose, cwd=folder, env=env)
        podman.call("rmi", "--force", "--ignore", services["service"]["image"])


def stand_in(image: str, program: str, folder: Path) -> None:
    folder.mkdir()
    shutil.copy(need(program), folder / program)
    shutil.copytree("/usr/share/prometheus", folder / "share", symlinks=True)
    state = "prometheus" if program == "prometheus" else "alertmanager"
    text = STAND_IN.format(base=podman.PYTHON, program=program, folder=state)
    (folder / "Dockerfile").write_text(text, encoding="utf-8")
    podman.call("build", "--quiet", "--tag", image, folder)


def test_the_registry_is_shown_without_being_written(trained: Installed, tmp_path: Path) -> None:
    """MLflow's own image cannot be had here: its command runs with the package of that version."""
    text = (trained.folder / "compose.yaml").read_text(encoding="utf-8")
    service = yaml.safe_load(text)["services"]["mlflow"]
    version = re.findall(r"v(\d+\.\d+)\.\d+", service["image"])[0]
    database = trained.folder / "mlflow.db"
    before = database.read_bytes()
    port = free_port()
    words = [word.replace("/registry/mlflow.db", str(database)) for word in service["command"]]
    command = [UV, "tool", "run", "--quiet", "--from", f"mlflow=={version}.*", *words, f"--port={port}"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=clean_environment(), stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/health", process, tmp_path / "log")
        (model,) = ask(f"{address}/api/2.0/mlflow/registered-models/search")["registered_models"]
        assert model["name"] == trained.package
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)
    assert database.read_bytes() == before
