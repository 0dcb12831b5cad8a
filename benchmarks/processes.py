"""Start what is measured on a core of its own, wait for its first answer, load it, and tell its memory."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .timing import CommandError, environment

PEERS = Path(__file__).resolve().parent / "peers"
START_SECONDS = 60
END_SECONDS = 15
TIMEOUT_SECONDS = 10
POLL_SECONDS = 0.005
KIBIBYTE, MEBIBYTE = 1024, 1024**2
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def cores() -> list[int]:
    """Return the cores that this process may use, or nothing where a program cannot be kept on a core."""
    if shutil.which("taskset") is None or not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0))


def pinned(command: Sequence[str | Path], *on: int) -> list[str]:
    """Return the command line that keeps a command on the cores `on`; without any it may use all."""
    words = [str(word) for word in command]
    return ["taskset", "--cpu-list", ",".join(map(str, on)), *words] if on else words


@dataclass(frozen=True)
class Server:
    """A service to measure.

    Attributes:
        name: how tables call it.
        command: gives the command line for a port.
        folder: where it is started.
        env: its environment.
        path: where it predicts.
        body: gives the request's body for a row, as Python values.
        answer: takes the probability out of the answer's body; None: it does not predict.
        ready: where it says that it is ready; None: it has no such place.
        look: asks it for further figures after the load; given its port.
    """

    name: str
    command: Callable[[int], Sequence[str | Path]]
    folder: Path
    env: Mapping[str, str]
    path: str
    body: Callable[[dict[str, Any]], object]
    answer: Callable[[Any], float] | None = None
    ready: str | None = None
    look: Callable[[int], dict[str, float]] | None = None


@dataclass
class Running:
    """A server that has answered.

    Attributes:
        port: where it listens.
        process: its first process.
        ready: the seconds from its start until it said that it was ready; None: it has no such place.
        first: the seconds from its start to its first prediction.
    """

    port: int
    process: subprocess.Popen[bytes]
    ready: float | None = None
    first: float = 0.0


@contextmanager
def running(server: Server, first: bytes, core: int | None, log: Path) -> Iterator[Running]:
    """Start a server, wait until it answers, and end it with all its processes afterwards.

    Args:
        server: what to start.
        first: the body of the first request.
        core: where it runs.
        log: gets what it prints.

    Raises:
        CommandError: it cannot be started, ends, or does not answer in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = pinned(server.command(port), *([] if core is None else [core]))
    with log.open("wb") as output:
        start = time.perf_counter()
        try:
            process = subprocess.Popen(
                line,
                cwd=server.folder,
                env=dict(server.env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise CommandError(f"{' '.join(line)}: {error}") from error
        try:
            up = Running(port, process)
            if server.ready:
                up.ready = _wait(up, "GET", server.ready, None, start, log)
            up.first = _wait(up, "POST", server.path, first, start, log)
            yield up
        finally:
            _end(process)


def _wait(up: Running, method: str, path: str, body: bytes | None, start: float, log: Path) -> float:
    """Ask until the answer is 200 and return the seconds since `start`."""
    last = "it does not listen"
    while time.perf_counter() - start < START_SECONDS:
        if up.process.poll() is not None:
            raise CommandError(f"ended with {up.process.returncode} before it answered:\n{_tail(log)}")
        with suppress(OSError, http.client.HTTPException):
            status, content = ask(up.port, method, path, body)
            if status == 200:
                return time.perf_counter() - start
            last = f"{status} {content[:500].decode(errors='replace')}"
        time.sleep(POLL_SECONDS)
    raise CommandError(f"did not answer {method} {path} within {START_SECONDS} s; last: {last}\n{_tail(log)}")


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Send one request and return the answer's status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").strip().splitlines()[-15:])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, then make it end, and whatever it has started and left behind."""
    started = family(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    for number, began in started.items():
        # The system may have given the number to another process since: that one began later.
        if number in (known := _processes()) and known[number].began == began:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
    process.kill()
    process.wait()


def family(first: int) -> dict[int, int]:
    """Return a process and all that it and its own have started, each with the tick of its start.

    By Linux's /proc; elsewhere there is nothing in it.
    """
    known = _processes()
    found = {first: known[first].began} if first in known else {}
    size = -1
    while size < len(found):
        size = len(found)
        found |= {number: each.began for number, each in known.items() if each.parent in found}
    return found


class _Process(NamedTuple):
    parent: int
    ticks: int  # of processor time
    began: int  # the tick of its start


def _processes() -> dict[int, _Process]:
    """Return each process that runs, by its number: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name in parentheses may hold spaces. After it comes the state, the third field.
            fields = entry.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                ticks = int(fields[11]) + int(fields[12])
                found[int(entry.parent.name)] = _Process(int(fields[1]), ticks, int(fields[19]))
    return found


def processor_seconds(first: int) -> float:
    """Return the processor time that a process and all that it has started have used; 0: not known on this system."""
    known = _processes()
    return sum(known[number].ticks for number in family(first) if number in known) / os.sysconf("SC_CLK_TCK")


def memory(first: int) -> float | None:
    """Return the MiB of memory that a process and all that it has started hold; None: not known on this system.

    A page that two of them share counts twice.
    """
    total = 0
    for number in family(first):
        with suppress(OSError):
            for line in Path(f"/proc/{number}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
    return total * KIBIBYTE / MEBIBYTE or None


@dataclass(frozen=True)
class Load:
    """What a load showed: answered requests, also per second, milliseconds, and failed requests."""

    requests: int
    rate: float
    p50: float
    p99: float
    errors: int


def load(port: int, path: str, body: Path, connections: int, duration: float, core: int | None) -> Load:
    """Send the same body again and again over connections that stay open.

    wrk is written in C: what generates the load must be much faster than what is measured.

    Raises:
        CommandError: wrk fails, or answered nothing.
    """
    command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={max(1, round(duration))}s"]
    command += [f"--timeout={TIMEOUT_SECONDS}s", f"--script={PEERS / 'load.lua'}", f"http://127.0.0.1:{port}{path}"]
    line = pinned(command, *([] if core is None else [core]))
    done = subprocess.run(line, env=environment({"BODY": str(body)}), capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"{' '.join(line)} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    if not figures["requests"]:
        raise CommandError(f"{' '.join(line)} got no answer.")
    return Load(
        requests=figures["requests"],
        rate=figures["requests"] / figures["microseconds"] * 1e6,
        p50=figures["p50"] / 1000,
        p99=figures["p99"] / 1000,
        errors=figures["errors"],
    )


@dataclass(frozen=True)
class Finished:
    """A process that ended: wall time, processor time, and the most memory that it held at a time."""

    seconds: float
    processor_seconds: float
    peak: float  # MiB, of the largest process among it and those that it waited for
    output: str


def finish(
    command: Sequence[str | Path], folder: Path, env: Mapping[str, str], on: Sequence[int], log: Path
) -> Finished:
    """Run a command to its end on the cores `on`.

    Args:
        command: what to run.
        folder: where.
        env: its environment.
        on: the cores it may use; none: all.
        log: gets its standard error, for the message when it fails.

    Raises:
        CommandError: it exits with another code than 0.
    """
    line = pinned(command, *on)
    results = log.with_suffix(".out")
    with log.open("wb") as errors, results.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            line, cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise CommandError(f"{' '.join(line)} exited with {process.returncode}:\n{_tail(results)}\n{_tail(log)}")
    unit = 1 if sys.platform == "darwin" else KIBIBYTE
    used = usage.ru_utime + usage.ru_stime
    return Finished(elapsed, used, usage.ru_maxrss * unit / MEBIBYTE, results.read_text())
