"""The report: every repository's row in the cache, and from there the table, the JSON and the page."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache as once
from functools import partial
from pathlib import Path

import jinja2
from pydantic import BaseModel, ValidationError

from commands import answer_space

from ..update import updating
from .cache import short_digest, written_whole
from .judging import Row, Verdict, look
from .repositories import Repository
from .running import in_processes

HERE = Path(__file__).parent


@once
def _rules() -> str:
    """Return a name for the code that judges: rows of other code are not taken."""
    code = [*HERE.glob("*.py"), Path(answer_space.__file__), Path(updating.__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(code))).hexdigest()[:20]


class Kept(BaseModel):
    """A row in the cache, and the code that judged it."""

    rules: str
    row: Row


def _file(repository: Repository, cache: Path) -> Path:
    return cache / "rows" / f"{short_digest(repository.address)}.json"


def _kept(repository: Repository, cache: Path) -> Kept | None:
    try:
        return Kept.model_validate_json(_file(repository, cache).read_bytes())
    except (OSError, ValidationError):
        return None


def judge_all(
    repositories: Iterable[Repository], cache: Path, *, to: str | None, jobs: int, fresh: bool
) -> Iterator[Row]:
    """Yield the repositories' rows as they come, each of them kept in the cache.

    Args:
        repositories: what to judge.
        cache: the cache's folder.
        to: the version to judge by; None: each template's newest release.
        jobs: the number of processes.
        fresh: judge anew what has not changed since the last time.
    """
    yield from in_processes(partial(_judge_one, cache=cache, to=to, fresh=fresh), repositories, jobs)


def _judge_one(repository: Repository, *, cache: Path, to: str | None, fresh: bool) -> Row:
    (cache / "rows").mkdir(parents=True, exist_ok=True)
    kept = _kept(repository, cache)
    usable = kept and not fresh and kept.rules == _rules() and kept.row.verdict is not Verdict.UNKNOWN
    former = kept.row if kept and usable else None
    try:
        row = look(repository, cache, to, former)
        if row is former:
            return row
        text = Kept(rules=_rules(), row=row).model_dump_json()
    except Exception as error:  # whatever a repository holds, the others are judged
        reason = f"It could not be judged: {type(error).__name__}: {error!r}"
        row = Row(name=repository.name, address=repository.address, reason=reason, hint="This is a fault of fleet.")
        text = Kept(rules=_rules(), row=row).model_dump_json()
    with written_whole(_file(repository, cache)) as stream:
        stream.write(text)
    return row


def kept_rows(repositories: Iterable[Repository], cache: Path) -> Iterator[Row]:
    """Yield the rows in the order of the list, one at a time from the cache."""
    yield from (kept.row for repository in repositories if (kept := _kept(repository, cache)))


class Summary:
    """What can be counted while rows come."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.verdicts: Counter[Verdict] = Counter()
        self.versions: Counter[str] = Counter()

    def add(self, row: Row) -> None:
        """Count a row."""
        self.verdicts[row.verdict] += 1
        self.versions[row.version or "unknown"] += 1

    def by_version(self) -> list[tuple[str, int]]:
        """Return how many have which version, the oldest first; the page shows them."""
        return sorted(self.versions.items(), key=lambda item: [int(part) for part in re.findall(r"\d+", item[0])])

    def sentence(self) -> str:
        """Return the counts as a line."""
        total = self.verdicts.total()
        counts = ", ".join(f"{self.verdicts[verdict]} {verdict}" for verdict in Verdict if self.verdicts[verdict])
        return f"{total} {'repository' if total == 1 else 'repositories'}: {counts}."


def write_json(file: Path, rows: Iterable[Row], summary: Summary) -> None:
    """Write the report as JSON, row by row."""
    with written_whole(file) as stream:
        head = {
            "made": _now().isoformat(timespec="seconds"),
            "verdicts": summary.verdicts,
            "versions": summary.versions,
        }
        stream.write(json.dumps(head)[:-1] + ', "repositories": [')
        for number, row in enumerate(rows):
            stream.write(("," if number else "") + "\n" + row.model_dump_json())
        stream.write("\n]}\n")


def write_page(file: Path, rows: Iterable[Row], summary: Summary) -> None:
    """Write the report as one page of HTML that needs nothing else, row by row."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    stream = environment.get_template("page.html.jinja").stream(
        rows=rows, summary=summary, verdicts=list(Verdict), made=f"{_now():%Y-%m-%d %H:%M} UTC"
    )
    with written_whole(file) as target:
        target.writelines(stream)


def _now() -> datetime:
    return datetime.now(UTC)
