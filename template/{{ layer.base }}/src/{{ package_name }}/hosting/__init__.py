"""Where the project is hosted: what its flows show to people, ask of people, and start.

`host.py` is the only module that knows the code host, and `setup.py` the only one that changes its
settings; another host has the same functions in its own two files. Everything else here, and the
flows' files, which are lists of verbs, need not know it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Issue:
    """An open issue on the code host."""

    number: str
    url: str
    body: str
