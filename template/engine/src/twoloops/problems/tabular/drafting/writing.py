"""The draft as files: ordinary code and pages, formatted, and put into the project all or not at all.

What a table holds reaches code as literals alone, and pages with its marks escaped: whatever a column is called, it
is never code.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from twoloops import params as parameters
from twoloops.config import Config
from twoloops.errors import ProjectError
from twoloops.problems.tabular.drafting.deciding import OTHER, Column, Plan, limits

if TYPE_CHECKING:
    from jinja2 import Environment

WIDTH: Final = 105  # of a line of levels, without its indent
LONG: Final = 20  # levels from which a list has a place of its own
QUANTILES: Final = (0.05, 0.95)
EXAMPLE_GAP: Final = 0.05
RENDERED: Final = "rendered.json"
PARAMS: Final = "params.yaml"
ANSWERS: Final = ".copier-answers.yml"
SIMULATOR: Final = ("src/{package}/problem/sample.py", "tests/test_sample.py")
# What is drafted besides params.yaml, by its path in the project.
TEMPLATES: Final[Mapping[str, str]] = {
    "src/{package}/problem/data.py": "data.py.j2",
    "src/{package}/problem/metrics.py": "metrics_{task}.py.j2",
    "tests/example.py": "example.py.j2",
    "tests/test_data.py": "test_data.py.j2",
    "tests/test_metrics.py": "test_metrics_{task}.py.j2",
    "tests/test_model.py": "test_model_{task}.py.j2",
    "data/README.md": "data_sheet.md.j2",
}
# How params.yaml comes: what has another value, somebody has set.
AS_RENDERED: Final[Mapping[str, Mapping[str, Any]]] = {
    "data": {"source": "data/raw/simulated.parquet", "minimum_rows": 500, "label_days": 30},
    "model": {"leaves": 12, "minimum_leaf_rows": 30},
    "gate": {"minimum_slice_rows": 100},
    "monitor": {"minimum_rows": 500},
}


# ---------------------------------------------------------------------- the texts


def render(plan: Plan, package: str) -> dict[str, str]:
    """Return the drafted files, by path in the project: formatted, and with a mark where a name breaks a rule of style.

    Raises:
        ProjectError: the formatter is not there, or refuses.
    """
    values = _values(plan, package)
    environment = _environment()
    texts = {
        path.format(package=package): environment.get_template(template.format(task=plan.task)).render(**values)
        for path, template in TEMPLATES.items()
    }
    return texts | _formatted({path: text for path, text in texts.items() if path.endswith(".py")})


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(str(resources(__package__))),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - code and Markdown, whose marks the filters below escape
    )
    filters: dict[str, Callable[..., str]] = {
        "literal": _literal,
        "comment": _line,
        "cell": _cell,
        "code": _code,
        "quoted": _quoted,
        "wrapped": _wrapped,
    }
    found.filters |= filters
    return found


def _literal(value: Any) -> str:
    return repr(value)


def _line(value: Any) -> str:
    """Return text in one line, without what would end it or turn it round."""
    return "".join(each if each.isprintable() else " " for each in str(value))


def _quoted(value: str) -> str:
    """Return a literal in the formatter's own quotes, for places that it leaves alone."""
    literal = repr(value)
    return f'"{literal[1:-1]}"' if literal.startswith("'") and '"' not in literal else literal


def _wrapped(values: Sequence[str]) -> str:
    """Return literals with commas, as many in a line as fit: the formatter would write one a line."""
    lines = [""]
    for value in values:
        literal = f"{_quoted(value)},"
        if lines[-1] and len(lines[-1]) + len(literal) > WIDTH:
            lines.append("")
        lines[-1] = f"{lines[-1]} {literal}".strip()
    return "\n".join(f"        {line}" for line in lines)


def _cell(value: Any) -> str:
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", _line(value))


def _code(value: Any) -> str:
    text = _line(value).replace("|", r"\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _values(plan: Plan, package: str) -> dict[str, Any]:
    features = plan.of("feature")
    personal = [each.name for each in plan.of("personal")]
    key = [each.name for each in plan.columns.values() if each.role in ("feature", "event time")]
    values: dict[str, Any] = {
        "plan": plan,
        "package": package,
        "personal": personal,
        "personal_codes": ", ".join(map(_code, personal)),
        "group_codes": ", ".join(map(_code, plan.groups)),
        "key": key,
        "long_levels": {each.name: each.levels for each in features if len(each.levels) > LONG},
        "contract": _contract(plan),
        "left_out": plan.of("left out"),
        "numeric": any(each.profile.numeric for each in features),
        "categorical": [each.name for each in features if each.levels],
        "broken": _broken(plan),
        "sheet": [_sheet_row(plan, each) for each in _declared(plan)],
        "event_share": _event_share(plan) if plan.classes else None,
        **_example(plan),
    }
    if plan.event_time:
        span = pc.min_max(plan.columns[plan.event_time].profile.values).as_py()
        values |= {"first": f"{span['min']:%Y-%m-%d}", "last": f"{span['max']:%Y-%m-%d}"}
    return values


def _declared(plan: Plan) -> list[Column]:
    """Return the columns of the contract: entity, event time, what is personal, features, target."""
    return [each for role in ("entity", "event time", "personal", "feature", "target") for each in plan.of(role)]


def _contract(plan: Plan) -> list[str]:
    lines = [] if not plan.made_key else ["ENTITY: pa.Column(str),"]
    constants = {plan.entity: "ENTITY", plan.event_time: "EVENT_TIME", plan.target: "TARGET"}
    for column in _declared(plan):
        lines.append(f"{constants.get(column.name) or repr(column.name)}: {_declaration(plan, column)},")
    return lines


def _declaration(plan: Plan, column: Column) -> str:
    profile, arguments = column.profile, list[str]()
    metadata: dict[str, str] = {}
    nullable = bool(profile.missing) or column.role == "personal"
    kinds = {"number": "float", "boolean": "bool", "integer": "int", "time": 'pd.DatetimeTZDtype("us", "UTC")'}
    kind = kinds.get(profile.kind, "str")
    if nullable and kind in ("bool", "int"):
        kind = '"boolean"' if kind == "bool" else '"Int64"'
    if column.role == "target":
        if plan.classes:
            arguments.append(f"pa.Check.isin({list(plan.classes)!r})")
        else:
            kind = "float"
    if column.role == "entity" and plan.unique:
        arguments.append("unique=True")
    if column.levels:
        listed = f"LEVELS[{column.name!r}]" if len(column.levels) > LONG else repr(list(column.levels))
        arguments.append(f"pa.Check.isin({listed})")
        metadata |= {"other": OTHER} if column.learnt else {}
    elif profile.numeric and (column.role == "feature" or (column.role == "target" and not plan.classes)):
        low, high = limits(profile)
        arguments.append(f"pa.Check.in_range({_number(low)}, {_number(high)})")
        metadata["unit"] = ""
    if nullable and column.role != "entity":
        arguments.append("nullable=True")
    if metadata:
        arguments.append(f"metadata={metadata!r}")
    return f"pa.Column({', '.join([kind, *arguments])})"


def _number(value: float) -> str:
    return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _event_share(plan: Plan) -> float:
    counts = dict(plan.columns[plan.target].profile.levels)
    share = counts[plan.classes[1]] / sum(counts.values())
    return float(f"{min(max(share, 0.001), 0.999):.2g}")


def _broken(plan: Plan) -> list[tuple[str, Any, str]]:
    """Return values that the contract refuses, each with its column and the words that tell it."""
    found: list[tuple[str, Any, str]] = []
    features = plan.of("feature")
    strict = next((each for each in features if each.levels and not each.learnt), None)
    if strict:
        found.append((strict.name, "no such value", "break isin("))
    number = next((each for each in features if each.profile.numeric), None)
    if number:
        found.append((number.name, limits(number.profile)[1] + 1, "break in_range("))
        found.append((number.name, "long", "cannot be read as "))
    full = next((each for each in features if not each.profile.missing), None)
    if full:
        found.append((full.name, None, "without a value"))
    if plan.event_time:
        found.append((plan.event_time, None, "without a value"))
    if plan.classes:
        found.append((plan.target, "no such class", "break isin("))
    else:
        found.append((plan.target, limits(plan.columns[plan.target].profile)[1] + 1, "break in_range("))
    return found


def _sheet_row(plan: Plan, column: Column) -> list[str]:
    profile = column.profile
    words = {
        "entity": "whom the row is about" + (", unique" if plan.unique else ""),
        "event time": "when the values were known",
        "target": "the target",
        "personal": "personal; to be written",
    }
    kinds = {"time": "time in UTC", "boolean": "true, false", "integer": "whole number", "number": "number"}
    shown = kinds.get(profile.kind, "text")
    if column.levels:
        few = column.levels[:LONG]
        more = f", … ({len(column.levels):,} values)" if len(column.levels) > len(few) else ""
        shown = ", ".join(map(_cell, few)) + more + ("; any other is taken as other" if column.learnt else "")
    elif column.role == "target" and plan.classes:
        shown = ", ".join(_cell(each) for each in plan.classes)
    elif profile.numeric and column.role in ("feature", "target"):
        low, high = limits(profile)
        shown = f"{low:,.12g} to {high:,.12g} (seen: {profile.minimum:,.6g} to {profile.maximum:,.6g})"
    return [_code(column.name), words.get(column.role, "to be written"), "", shown, "yes" if profile.missing else "no"]


# ---------------------------------------------------------------------- the rows of the tests


def _example(plan: Plan) -> dict[str, Any]:
    lines = [f'{plan.entity!r}: [f"row-{{number:05d}}" for number in range(ROWS)],'] if plan.made_key else []
    for column in _declared(plan):
        if column.role != "target":
            lines.append(f"{column.name!r}: {_made_up(plan, column)},")
    features = plan.of("feature")
    gaps = {each.name: EXAMPLE_GAP for each in features if each.profile.missing}
    values: dict[str, Any] = {"example": lines, "gaps": gaps, "signal": _signal(features)}
    if not plan.classes:
        known = plan.columns[plan.target].profile.values.cast(pa.float64())
        low, high = pc.quantile(known, q=[0.25, 0.75]).to_pylist()
        if low == high:
            low, high = pc.min_max(known).as_py().values()
        allowed = limits(plan.columns[plan.target].profile)
        spread = min((high - low) / 10, (allowed[1] - high) / 6, (low - allowed[0]) / 6 or (high - low) / 10)
        values |= {"low": _rounded(low), "high": _rounded(high), "spread": _rounded(max(spread, 0))}
    return values


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _made_up(plan: Plan, column: Column) -> str:
    """Return code that draws a column."""
    profile = column.profile
    if column.role == "personal":
        return "[None] * ROWS"
    if column.role == "entity":
        texts = '[f"row-{number:05d}" for number in range(ROWS)]'
        return "random.permutation(ROWS)" if profile.kind == "integer" else texts
    if column.role == "event time":
        span = pc.min_max(profile.values).as_py()
        seconds = max(int((span["max"] - span["min"]).total_seconds()), 86_400)
        drawn = f'pd.to_timedelta(np.sort(random.integers(0, {seconds}, ROWS)), unit="s")'
        return f'pd.Timestamp("{span["min"]:%Y-%m-%dT%H:%M:%S}", tz="UTC") + {drawn}'
    drawn = _drawn(column)
    kinds = {"boolean": "boolean", "integer": "Int64"}
    if profile.missing and profile.kind in kinds:
        drawn = f'pd.array({drawn}, dtype="{kinds[profile.kind]}")'
    return drawn


def _drawn(column: Column) -> str:
    profile = column.profile
    if column.levels:
        listed = f"data.LEVELS[{column.name!r}]" if len(column.levels) > LONG else repr(list(column.levels))
        return f"random.choice({listed}, ROWS)"
    if profile.kind == "boolean":
        return "random.choice([True, False], ROWS)"
    low, high = pc.quantile(profile.values.cast(pa.float64()), q=list(QUANTILES)).to_pylist()
    if profile.kind == "integer":
        return f"random.integers({int(low)}, {int(high) + 1}, ROWS)"
    return f"random.uniform({_inside(low, profile)}, {_inside(high, profile)}, ROWS)"


def _inside(value: float, profile: Any) -> float:
    low, high = limits(profile)
    return min(max(_rounded(value), low), high)


def _signal(features: list[Column]) -> str:
    """Return what the made-up target hangs on: a bend, which a straight line does not find."""
    number = next((each for each in features if each.profile.numeric), None)
    if number:
        return f"(frame[{number.name!r}].rank(pct=True) - 0.5).abs() > 0.25"
    column = features[0]
    return f"frame[{column.name!r}] == {column.levels[0] if column.levels else True!r}"


# ---------------------------------------------------------------------- format


def _formatted(texts: Mapping[str, str]) -> dict[str, str]:
    """Return code as the project's formatter writes it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copy(parameters.paths().root / "pyproject.toml", folder)
        for path, text in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        for command in (
            ["format", "."],
            # What a table calls its columns may be long, or have letters that look like others.
            ["check", "--quiet", "--select", "E501,RUF001,RUF003", "--add-noqa", "."],
            ["format", "."],
        ):
            done = subprocess.run(
                [sys.executable, "-m", "ruff", *command, "--no-cache"],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode and "No module named" in done.stderr:
                raise ProjectError("There is no formatter here: ruff is not installed.", hint="Install it: uv sync")
            if done.returncode:
                raise ProjectError(f"The draft cannot be formatted: {done.stderr.strip() or done.stdout.strip()}")
        return {path: (folder / path).read_text(encoding="utf-8") for path in texts}


# ---------------------------------------------------------------------- params.yaml


def choose_params(plan: Plan, gate: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the values of params.yaml that fit the table, by section.

    Args:
        plan: of the draft.
        gate: the section `gate` as it is, for the metric that decides.
    """
    changes: dict[str, dict[str, Any]] = {
        "data": {
            "source": plan.source,
            "minimum_rows": max(20, _rounded_down(plan.rows / 2)),
            "label_days": plan.label_days,
        },
        "model": {},
        "gate": {},
        "monitor": {},
    }
    held_out = plan.rows // 4
    if held_out < 1000:
        changes["gate"]["minimum_slice_rows"] = max(20, held_out // 10)
    if plan.rows < 2000:
        changes["model"]["minimum_leaf_rows"] = max(5, plan.rows // 100)
        changes["monitor"]["minimum_rows"] = max(50, _rounded_down(plan.rows / 4))
    if plan.rows >= 50_000:
        changes["model"] |= {"leaves": 31, "minimum_leaf_rows": 100}
    if not plan.classes:
        known = plan.columns[plan.target].profile.values.cast(pa.float64()).drop_null().to_numpy(zero_copy_only=False)
        errors = {
            "mean_absolute_error": float(np.mean(np.abs(known - np.median(known)))),
            "root_mean_squared_error": float(np.std(known)),
        }
        # To be worse than the same forecast for all is to be useless. What is good enough, the owner knows.
        useless = errors.get(str(gate.get("primary_metric")))
        changes["gate"] |= {"threshold": _rounded(useless), "slice_threshold": _rounded(2 * useless)} if useless else {}
    return {section: values for section, values in changes.items() if values}


def _rounded_down(value: float) -> int:
    """Return a number with one digit, and zeros."""
    digits = 10 ** max(len(str(int(value))) - 1, 0)
    return int(value // digits * digits)


def keep_what_was_set(
    changes: Mapping[str, Mapping[str, Any]], now: Mapping[str, Any], answers: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the changes to what nobody has set, and the keys that somebody has.

    Args:
        changes: by section, the values by key.
        now: params.yaml as it is.
        answers: to the template's questions.
    """
    came = {section: dict(values) for section, values in AS_RENDERED.items()}
    if "minimum_metric" in answers:
        came["gate"]["threshold"] = float(answers["minimum_metric"])
    allowed: dict[str, dict[str, Any]] = {}
    kept = []
    slice_came = now.get("gate", {}).get("threshold") == came["gate"].get("threshold")  # the two come together
    for section, values in changes.items():
        for key, value in values.items():
            present = now.get(section, {}).get(key)
            untouched = slice_came if key == "slice_threshold" else present == came.get(section, {}).get(key)
            if untouched or present == value:
                allowed.setdefault(section, {})[key] = value
            else:
                kept.append(f"{section}.{key}")
    return allowed, kept


# ---------------------------------------------------------------------- into the project


def read_answers(root: Path) -> dict[str, Any]:
    """Return the answers to the template's questions; none where the file is missing or is no YAML."""
    try:
        content = yaml.safe_load((root / ANSWERS).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def fingerprint(template: str) -> dict[str, Any]:
    """Return what tells whether a file is as the template renders it: its lines with answers, and a SHA-256 of all."""
    lines = template.replace("\r\n", "\n").splitlines()
    return {
        "lines": {str(place): line for place, line in enumerate(lines) if "{{" in line},
        "sha256": _digest(lines),
    }


def is_rendered(text: str, known: Mapping[str, Any], answers: Mapping[str, Any]) -> bool:
    """Say whether a file is as the template of this release renders it: not one character is somebody's own.

    Args:
        text: of the file.
        known: as `fingerprint` gives it.
        answers: to the template's questions.
    """
    lines = text.replace("\r\n", "\n").splitlines()
    for place, line in known["lines"].items():
        number = int(place)
        filled = re.sub(r"\{\{ (\w+) \}\}", lambda found: str(answers.get(found[1], found[0])), line)
        if number >= len(lines) or lines[number] != filled:
            return False
        lines[number] = line
    return _digest(lines) == known["sha256"]


def _digest(lines: list[str]) -> str:
    """Return the SHA-256 of lines, in groups: scanners take 64 hexadecimal digits in a row for a secret."""
    whole = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return " ".join(whole[place : place + 8] for place in range(0, 64, 8))


def find_edited(config: Config, texts: Mapping[str, str], gone: list[str]) -> list[str]:
    """Return the files that would be written or removed, and are neither as rendered nor as they would become."""
    known = json.loads(resources(__package__).joinpath(RENDERED).read_text(encoding="utf-8"))[config.problem]
    answers = read_answers(config.root) | {"package_name": config.package}
    edited = []
    for path in [*texts, *gone]:
        file = config.root / path
        if not file.exists():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        rendered = known.get(path.replace(f"src/{config.package}/", "src/{package}/"))
        if text != texts.get(path) and not (rendered and is_rendered(text, rendered, answers)):
            edited.append(path)
    return edited


def write(root: Path, texts: Mapping[str, str], gone: list[str]) -> None:
    """Write and remove files, all or none: when one fails, each is as it was before."""
    before = {path: (root / path).read_bytes() if (root / path).exists() else None for path in [*texts, *gone]}
    try:
        for path, text in texts.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8", newline="\n")
        for path in gone:
            (root / path).unlink(missing_ok=True)
    except BaseException:
        for path, content in before.items():
            if content is not None:
                (root / path).write_bytes(content)
            else:
                (root / path).unlink(missing_ok=True)
        raise
