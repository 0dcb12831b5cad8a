"""Copier's command, kept warm: one process has imported it and forks for each call, which saves most of a second.

Started with the path of a socket and `--serve` it is the server; with more words it is the command. `--quick` before
the words asks for the stand-in of quick.py.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def warm_copier(folder: str) -> Iterator[tuple[str, ...]]:
    """Yield a command that does what `copier` does; its socket lies in `folder`."""
    address = os.path.join(folder, "copier")
    server = subprocess.Popen([sys.executable, __file__, address, "--serve"])
    try:
        while not os.path.exists(address):
            assert server.poll() is None, "the warm Copier did not start"
            time.sleep(0.05)
        yield sys.executable, "-S", "-E", __file__, address
    finally:
        server.terminate()
        server.wait()


def serve(address: str) -> None:
    """Answer calls until the process that started it is gone."""
    import copier._cli  # noqa: F401 - for those that are forked

    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from tests.updates import quick  # noqa: F401 - as well

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen()
    os.rename(f"{address}.new", address)  # only now can it be found
    listener.settimeout(5)
    parent = os.getppid()
    while os.getppid() == parent:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        message, outputs, *_ = socket.recv_fds(connection, 1 << 16, 2)
        child = os.fork()
        if child == 0:
            _answer(connection, json.loads(message), outputs)
        os.waitpid(child, 0)
        for number in outputs:
            os.close(number)
        connection.close()


def _answer(connection: socket.socket, call: dict[str, list[str] | str], outputs: list[int]) -> None:
    for number, output in enumerate(outputs, start=1):
        os.dup2(output, number)
    os.chdir(str(call["folder"]))
    sys.argv = ["copier", *call["words"]]
    code: object = 1
    try:
        if sys.argv[1] == "--quick":
            from tests.updates import quick

            quick.run([word for word in sys.argv[2:] if word != "--"])
            code = 0
        else:
            runpy.run_module("copier", run_name="__main__")
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(bytes([code if isinstance(code, int) else int(code is not None)]))
        os._exit(0)


def call(address: str, words: list[str]) -> int:
    """Let the server run Copier in this folder, with this process's outputs, and return its exit code."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        message = json.dumps({"folder": os.getcwd(), "words": words}).encode()
        socket.send_fds(connection, [message], [1, 2])
        return (connection.recv(1) or b"\1")[0]


if __name__ == "__main__":
    if sys.argv[2:] == ["--serve"]:
        serve(sys.argv[1])
    else:
        sys.exit(call(sys.argv[1], sys.argv[2:]))
