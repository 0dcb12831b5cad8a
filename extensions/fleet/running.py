"""Work on many repositories at once: in processes, each as soon as one is free, none stopped by another."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from .git import Refused
from .repositories import Repository

Result = TypeVar("Result")


def in_processes(
    work: Callable[[Repository], Result], repositories: Iterable[Repository], jobs: int
) -> Iterator[Result]:
    """Yield the result of each repository's work as it comes.

    Few repositories wait at any time, so that a long list costs no more memory than a short one.
    When the caller stops, by Ctrl-C too, work that has begun is finished and no other begins.

    Args:
        work: a function that processes can be given, and that lets no error out.
        repositories: what to work on.
        jobs: the number of processes.

    Raises:
        Refused: a process was killed.
    """
    # "spawn": a fork would copy the threads of the progress bar's process in whatever state they are.
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_leave_interrupts)
    waiting: set[Future[Result]] = set()
    try:
        for repository in repositories:
            waiting.add(pool.submit(work, repository))
            if len(waiting) >= 4 * jobs:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        hint = "The same command goes on from there; --jobs 1 needs the least memory."
        raise Refused("A process was ended from outside, perhaps for want of memory.", hint=hint) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    """Leave Ctrl-C to the process that the person talks to; large files stay at the remote, where git has git-lfs.

    To ignore the signal is not enough: git sets handlers of its own, which take away what it has just made, and its
    failure would be the repository's verdict. A terminal sends Ctrl-C to one group of processes, so this one leaves it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    # Nor can it ask at the terminal any more: ssh would be stopped there. A program of the person's own may ask.
    os.environ.setdefault("SSH_ASKPASS", "false")
    os.environ["SSH_ASKPASS_REQUIRE"] = "force"
    os.environ["GIT_LFS_SKIP_SMUDGE"] = "1"
