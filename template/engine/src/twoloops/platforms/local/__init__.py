"""This machine.

An environment is a folder in deployments/ and a service process that follows it. Each command asks its platform what it
offers: what takes long to load, HTTP and the registry, is imported where it is used.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from twoloops import config
from twoloops.contracts.platform import (
    IMAGES,
    INFRASTRUCTURE,
    LOGIN,
    PIPELINES,
    SCORING,
    Login,
    NotOfferedError,
    Tell,
)
from twoloops.contracts.release import Deployment, Release, Status, Traffic, UnfitError
from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.platforms.local.locking import refuse_another_machine, this_machine
from twoloops.storage import replacing, write_json

if TYPE_CHECKING:
    import psutil

    from twoloops import registry
    from twoloops.contracts.graph import Graph
    from twoloops.contracts.records import Records
    from twoloops.contracts.scan import Scan
    from twoloops.platforms.local.connection import Endpoint

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
FIRST_PORT = 8000  # of the last environment; the others come after it
PORTS = 200  # so many are tried
STARTS = 3
START_SECONDS = 60.0
STOP_SECONDS = 60.0  # longer than serve.drain_seconds is at first
ANSWER_SECONDS = 5.0
LOG_LINES = 5
NAME = "this machine"
SERVICE_NOTE = "service.json"  # which process serves, for the next start and for people
OFFERS: frozenset[str] = frozenset()
LATE_SECONDS = 0.0  # so late come the figures of traffic()
STOPPED = "stopped"  # what stop() does, in a word
# By these, runners of flows find what a job has left running, and end it.
JOB_MARKS = ("RUNNER_TRACKING_ID", "VSTS_PROCESS_LOOKUP_ID")
# Several services of this machine cannot share one port, and `status` reads what each of them says of itself.
NOT_HANDED_ON = (*JOB_MARKS, "SERVE_ADMIN_PORT")
_started: list[subprocess.Popen[bytes]] = []  # kept, because a process that is let go of is complained about


def lasts() -> bool:
    """Say whether what a flow's job deploys is still there after it: on the runner of a code host it is not."""
    return paths().lasts


def captures() -> AbstractContextManager[None]:
    """Do nothing: captures are written on this machine."""
    return nullcontext()


def monitor_memory() -> AbstractContextManager[None]:
    """Do nothing: the monitor's memory is on this machine."""
    return nullcontext()


def follow_champion(version: registry.Version) -> None:
    """Do nothing: who uses a champion asks the registry."""


def records() -> Records:
    """Return the notes that lie beside what is deployed."""
    from twoloops.platforms.shared.notes import Folder

    return Folder()


def image(tolerated: Scan) -> None:
    """Return None: services run from the project's own environment."""


def submit(graph: Graph, tell: Tell) -> NoReturn:
    """Refuse: the graph runs here by the verb `run`."""
    raise NotOfferedError(NAME, PIPELINES)


def score(tell: Tell) -> NoReturn:
    """Refuse: tables are scored here by the verb `score`."""
    raise NotOfferedError(NAME, SCORING)


def push_images(engine: str | None, tell: Tell) -> NoReturn:
    """Refuse: no image runs here."""
    raise NotOfferedError(NAME, IMAGES)


def audience(role: str) -> NoReturn:
    """Refuse: nobody logs in to this machine."""
    raise NotOfferedError(NAME, LOGIN)


def log_in(login: Login) -> NoReturn:
    """Refuse: nobody logs in to this machine."""
    raise NotOfferedError(NAME, LOGIN)


def infrastructure() -> NoReturn:
    """Refuse: there is none."""
    raise NotOfferedError(NAME, INFRASTRUCTURE)


def deployment(environment: str) -> Deployment | None:
    """Return what the environment was last told to run, or None."""
    path = _folder(environment) / "deployment.json"
    if not path.exists():
        return None
    return _read_deployment(path) or _rebuild_deployment(path)


def _read_deployment(path: Path) -> Deployment | None:
    """Return what a deployment.json says; None: it was torn, as by a power loss."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stable, canary = Release(**content["stable"]), content["canary"]
        if canary is None:
            return Deployment(stable)
        share = float(canary.pop("share"))
        return Deployment(stable, Release(**canary), share)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _rebuild_deployment(path: Path) -> Deployment | None:
    """Return what the registry says that should run: the champion alone; None: there is no champion."""
    from twoloops import registry

    champion = registry.find(registry.CHAMPION)
    found = Deployment(Release.of(champion)) if champion else None
    runs = f"the champion, version {champion.number}" if champion else "nothing: there is no champion"
    logger.error("%s is torn. By the registry it should run %s; the next 'deploy' writes it anew.", path, runs)
    return found


def deploy(environment: str, wanted: Deployment) -> None:
    """Let the environment run `wanted`, and return when it does. Starts the service if it does not run.

    It can be repeated at any time; what runs already is left as it is.

    Raises:
        UnfitError: the service refuses a model; it goes on with what it was told before.
        ProjectError: an artifact cannot be had (nothing has changed then), or no service comes up.
    """
    folder = _folder(environment)
    for release in (wanted.stable, wanted.canary):
        if release:
            _install(release)
    before = deployment(environment)
    logger.info("%s is to run %s; before: %s", environment, wanted, before)
    if before != wanted or _read_deployment(folder / "deployment.json") is None:
        _write_deployment(folder, wanted)
    try:
        _run(environment, folder, wanted)
    except UnfitError:
        if before:
            _write_deployment(folder, before)
        raise


def status(environment: str) -> Status | None:
    """Return what the environment's service says of itself, or None when none answers."""
    said = _ready(_port(_process(_folder(environment))))
    return None if said is None else _status(said)


def endpoint(environment: str) -> Endpoint:
    """Return where the environment's service answers.

    Raises:
        ProjectError: it does not run.
    """
    from twoloops.platforms.local.connection import Endpoint

    port = _port(_process(_folder(environment)))
    if port is None:
        raise ProjectError(
            f"No service runs in {environment}.", hint=f"Start it with the verb 'deploy --to {environment}'."
        )
    return Endpoint(f"http://{HOST}:{port}")


def traffic(environment: str) -> dict[str, Traffic]:
    """Return what the environment's service has counted for each version.

    Raises:
        ProjectError: it does not answer.
    """
    from twoloops.platforms.shared.traffic import traffic_of

    port = _port(_process(_folder(environment)))
    text = _get(port, "/metrics") if port else None
    if text is None:
        raise ProjectError(
            f"The service in {environment} does not answer.", hint=f"See {_log_file(_folder(environment))}."
        )
    return traffic_of(text[1].decode())


def stop(environment: str) -> bool:
    """Stop the environment's service, and return whether one ran. It answers first what it has begun."""
    import psutil

    process = _process(_folder(environment))
    if process is None:
        return False
    logger.info("process %s of %s is told to stop", process.pid, environment)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        logger.warning("process %s did not stop in %s s, and is killed", process.pid, STOP_SECONDS)
        process.kill()
        process.wait(ANSWER_SECONDS)
    for started in _started:
        started.poll()
    _forget_machine(_folder(environment) / SERVICE_NOTE)
    return True


def remove(environment: str) -> None:
    """Stop the environment's service, and forget what it was to run."""
    stop(environment)
    (_folder(environment) / "deployment.json").unlink(missing_ok=True)


@contextmanager
def lock(what: str) -> Iterator[None]:
    """Let nobody else change what runs meanwhile. The lock goes with the process, however that ends.

    Raises:
        ProjectError: somebody else has it.
    """
    from twoloops.platforms.local.locking import hold

    with hold(paths().deployments, what):
        yield


def _folder(environment: str) -> Path:
    config.current().check_environment(environment)
    return paths().deployments / environment


def _install(release: Release) -> None:
    """Put the artifact where services find it; it stays there, so that going back needs no registry."""
    from twoloops import artifact, registry

    target = paths().deployments / "models" / release.identity
    if target.exists():
        return
    with registry.download(release.uri, release.identity) as copy, replacing(target) as new:
        new.mkdir()
        for name, content in artifact.read(copy).files.items():
            (new / name).write_bytes(content)


def _write_deployment(folder: Path, wanted: Deployment) -> None:
    canary = {**asdict(wanted.canary), "share": wanted.share} if wanted.canary else None
    write_json(folder / "deployment.json", {"stable": asdict(wanted.stable), "canary": canary})


def _log_file(folder: Path) -> Path:
    return folder / "service.log"


def _command(folder: Path) -> list[str]:
    """Return the service's command without its port: by these words a running one is recognized."""
    words = ["-m", "twoloops", "serve", str(folder.absolute()), "--host", HOST]
    if folder.name != config.current().last:
        # Trials are no traffic of users: the monitor, which reads data/captures, must not see them.
        words += ["--captures", str(folder / "captures")]
    return [*words, "--port"]


def _process(folder: Path) -> psutil.Process | None:
    """Find the service among the machine's processes: a note of its number could be lost, or be another's by now."""
    import psutil

    command = _command(folder)
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if words[1:-1] == command and process.info["status"] != psutil.STATUS_ZOMBIE:
            return process
    return None


def _port(process: psutil.Process | None) -> int | None:
    return int(process.info["cmdline"][-1]) if process else None


def _start(environment: str, folder: Path) -> int:
    refuse_another_machine(folder / SERVICE_NOTE, environment)
    port = _free_port(environment, folder)
    detached = getattr(subprocess, "DETACHED_PROCESS", 0)  # Windows; elsewhere the new session does it
    with _log_file(folder).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *_command(folder), str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            creationflags=detached,
            env={name: value for name, value in os.environ.items() if name not in NOT_HANDED_ON},
        )
    _started.append(process)
    note = {"pid": process.pid, "port": port, "started_at": datetime.now(UTC).isoformat(timespec="seconds")}
    write_json(folder / SERVICE_NOTE, note | this_machine())
    logger.info(
        "the service of %s is process %s on port %s; its log is %s", environment, process.pid, port, _log_file(folder)
    )
    return port


def _free_port(environment: str, folder: Path) -> int:
    """Return the port that the service had before, else its usual one, else the next that nobody uses."""
    order = [config.current().last, *config.current().environments[:-1]]
    usual = {name: FIRST_PORT + place for place, name in enumerate(order)}
    note = folder / SERVICE_NOTE
    before = _noted_ports(note)
    others = range(FIRST_PORT + len(order), FIRST_PORT + PORTS)
    for port in [*before, usual[environment], *others]:
        if _is_free(port):
            return int(port)
    raise ProjectError(
        f"No port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free for {environment}.",
        hint="Stop what listens there, such as services of other projects.",
    )


def _forget_machine(note: Path) -> None:
    """Note that no service runs here any more: another machine may start the next one. The port stays known."""
    for port in _noted_ports(note):
        write_json(note, {"port": port})


def _noted_ports(note: Path) -> list[int]:
    """Return the port that the service had before, if that is known."""
    try:
        return [int(json.loads(note.read_text(encoding="utf-8"))["port"])]
    except (OSError, ValueError, KeyError, TypeError):  # there was none, or the note is torn: another port does as well
        return []


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        if os.name == "posix":  # a port whose connections are only just closed is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _run(environment: str, folder: Path, wanted: Deployment) -> None:
    """Let the service run `wanted`; start it where it does not run."""
    for _ in range(STARTS):
        port = _port(_process(folder)) or _start(environment, folder)
        if _wait(environment, folder, port, wanted):
            return
        if _is_free(port):
            break
        # Somebody else took the port in the same moment: the next try takes another one.
    lines = _log_file(folder).read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    raise ProjectError(
        f"The service in {environment} did not come up on port {port}:\n" + "\n".join(f"  {line}" for line in lines),
        hint=f"{_log_file(folder)} says more.",
    )


def _wait(environment: str, folder: Path, port: int, wanted: Deployment) -> bool:
    """Wait until the service has taken up what deployment.json says; return False when it ended, or takes too long."""
    import hashlib

    digest = hashlib.sha256((folder / "deployment.json").read_bytes()).hexdigest()
    models = [wanted.stable.identity, wanted.canary.identity if wanted.canary else None]
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        process = _process(folder)
        if process is None:
            return False
        # Whoever answers on the port may be another project's service.
        said = _ready(port) if _listens(process, port) else None
        if said and said["deployment"] == digest:
            if said["problem"]:
                raise UnfitError(
                    f"The service in {environment} refuses what it was told to run: {said['problem']}",
                    hint=f"{_log_file(folder)} says more.",
                )
            if said["ready"] and [(said[role] or {}).get("identity") for role in ("stable", "canary")] == models:
                return True
        time.sleep(0.1)
    return False


def _listens(process: psutil.Process, port: int) -> bool:
    import psutil

    try:
        return any(each.laddr and each.laddr.port == port for each in process.net_connections(kind="tcp"))
    except psutil.Error:  # it has just ended
        return False


def _ready(port: int | None) -> dict[str, Any] | None:
    found = _get(port, "/health/ready") if port else None
    if found is None or found[0] not in (200, 503):
        return None
    said: dict[str, Any] = json.loads(found[1])
    return said


def _status(said: dict[str, Any]) -> Status:
    stable, canary = said["stable"] or {}, said["canary"] or {}
    return Status(
        ready=said["ready"],
        stable=stable.get("version"),
        canary=canary.get("version"),
        share=canary.get("share", 0.0),
        problem=said["problem"],
    )


def _get(port: int, path: str) -> tuple[int, bytes] | None:
    from http.client import HTTPConnection, HTTPException

    from twoloops.platforms.local.connection import authorization

    connection = HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers=authorization())
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
