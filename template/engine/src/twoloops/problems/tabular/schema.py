"""What a request must look like: types made from the model's signature, and every problem told in words.

A request is parsed and checked in one pass by msgspec. Only when it does not fit is it read a second
time, slowly, to tell each problem with its row and field.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import UNSET, Meta
from msgspec.structs import astuple

from twoloops.contracts.serving import Detail, RefusedError
from twoloops.json_body import has_each_key_once, parse, refuse_twice, shown
from twoloops.problems.tabular import protocols
from twoloops.problems.tabular.encoding import Matrix, row_encoder
from twoloops.problems.tabular.reading import EXACT, NOUNS, TIME, Column, is_missing, of_feature, reader
from twoloops.problems.tabular.signature import Feature, Signature

LARGEST: Final = float(np.finfo(np.float32).max)  # models read float32
LONGEST_KEY: Final = 256  # characters of an entity: it is kept in the captures
MOST_PROBLEMS: Final = 100  # that one answer tells
MOST_CATEGORIES: Final = 20  # that one message lists
MOST_SUGGESTIONS: Final = 3  # in one answer: to look for a name that is near takes longer than anything else
NOT_KNOWN: Final = "is not known"
DIGITS: Final = 4  # of the numbers in the example
WHOLE: Any = Annotated[float, Meta(multiple_of=1, ge=-EXACT, le=EXACT)]  # 123.0 is 123 to JSON

Row = Any  # a structure made from the signature


class Schema:
    """The type of a model's rows."""

    def __init__(self, signature: Signature, maximum_rows: int) -> None:
        """Make the type.

        Args:
            signature: the model's features, and the columns that may come along.
            maximum_rows: of one request.
        """
        self.signature = signature
        self.maximum_rows = maximum_rows
        self.features = {feature.name: feature for feature in signature.features}
        along = [signature.entity, signature.event_time, *signature.personal]
        self.along = [name for name in dict.fromkeys(along) if name and name not in self.features]
        # Column names need not be Python names: the structure numbers its fields.
        names = {f"feature_{place}": name for place, name in enumerate(self.features)}
        names |= {f"along_{place}": name for place, name in enumerate(self.along)}
        fields: list[Any] = [
            (field, _type(self.features[name])) if name in self.features else (field, self._type_along(name), UNSET)
            for field, name in names.items()
        ]
        row: Any = msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True)
        self._type: Any = row | list[row]
        self._fields = len(fields)
        self._decoder = msgspec.json.Decoder(self._type)
        self._encode = row_encoder(signature.features)
        # The entity is a key for joining labels later. One that is personal is never kept.
        keeps_entity = signature.entity in self.along and signature.entity not in signature.personal
        self._read_key = reader(Column(signature.entity, signature.entity_kind))
        self._entity = len(self.features) + self.along.index(signature.entity) if keeps_entity else None
        keeps_time = signature.event_time in self.along and signature.event_time not in signature.personal
        self._time = next((field for field, name in names.items() if name == signature.event_time), "")
        self._time = self._time if keeps_time else ""

    def _type_along(self, name: str) -> Any:
        if name == self.signature.entity:
            return Annotated[str, Meta(max_length=LONGEST_KEY)] | int | WHOLE | None
        return Any

    def from_json(self, body: bytes) -> list[Row]:
        """Read one row, or a list of them.

        Raises:
            RefusedError: 400 for what is not JSON, 413 for too many rows, 422 for rows that break the contract.
        """
        try:
            found = self._decoder.decode(body)
        except (ValueError, RecursionError) as error:
            if body.startswith(BOM_UTF8):
                return self.from_json(body.removeprefix(BOM_UTF8))
            # Raises itself for what is not JSON; what remains does not fit.
            raise self._explained(parse(body), str(error)) from None
        # A row has as many keys as fields that are set: all features, and what came along.
        if type(found) is not list:
            rows, keys = [found], self._fields - astuple(found).count(UNSET)
        else:
            rows = self._counted(found)
            keys = len(rows) * self._fields - sum([astuple(row).count(UNSET) for row in rows])
        # Each key has a colon. Where there are no others, none of them is there twice.
        if body.count(b":") != keys and not has_each_key_once(body, keys):
            refuse_twice(body)
        return rows

    def from_objects(self, objects: Any) -> list[Row]:
        """Read one row, or a list of them, that are parsed already; raises as `from_json` does."""
        try:
            rows = msgspec.convert(objects, self._type)
        except (ValueError, RecursionError) as error:
            raise self._explained(objects, str(error)) from None
        return self._counted(rows if isinstance(rows, list) else [rows])

    def _counted(self, rows: list[Row]) -> list[Row]:
        if not 0 < len(rows) <= self.maximum_rows:
            self.check_rows(len(rows))
        return rows

    def check_rows(self, rows: int) -> None:
        """Demand a number of rows that is allowed; whoever translates asks before it builds anything of them.

        Raises:
            RefusedError: 413, there are too many; 422, there is none.
        """
        if rows > self.maximum_rows:
            raise RefusedError(
                413,
                f"The request has {rows:,} rows; at most {self.maximum_rows:,} are allowed. Send it in parts.",
                rows=rows,
            )
        if not rows:
            raise RefusedError(422, "The request holds no rows.")

    def check_columns(self, columns: int) -> None:
        """Demand no more columns than the model knows; which they are is checked with the rows.

        Raises:
            RefusedError: 422, there are more.
        """
        most = len(self.features) + len(self.along)
        if columns > most:
            raise RefusedError(422, f"The request has {columns:,} columns, and the model knows {most:,}.")

    def encode(self, rows: Sequence[Row]) -> tuple[Matrix, list[str | None]]:
        """Return the model's matrix, shape [rows, features], and each row's entity.

        Raises:
            RefusedError: 422, a category is not in the model's list.
        """
        width = len(self.features)
        values = [astuple(row) for row in rows]
        try:
            matrix = self._encode([list(each[:width]) for each in values])
        except KeyError as error:
            raise self._explained(msgspec.to_builtins(rows), f"{error} is not known") from None
        if self._entity is None:
            return matrix, [None] * len(rows)
        keys = [each[self._entity] for each in values]
        try:
            return matrix, [None if key is UNSET or is_missing(key) else str(self._read_key(key)) for key in keys]
        except ValueError:
            raise self._explained(msgspec.to_builtins(rows), "a key is not known") from None

    def event_times(self, rows: Sequence[Row]) -> list[str | None]:
        """Return each row's event time as it came; None where none came, or what came is no time."""
        if not self._time:
            return [None] * len(rows)
        return [_time_told(getattr(row, self._time)) for row in rows]

    def _explained(self, objects: Any, otherwise: str) -> RefusedError:
        rows = objects if isinstance(objects, list) else [objects]
        if len(rows) > self.maximum_rows:
            try:
                self._counted(rows)
            except RefusedError as refusal:
                return refusal
        found = ((place, *problem) for place, row in enumerate(rows) for problem in self._problems(row))
        details: list[Detail] = []
        for place, field, text in islice(found, MOST_PROBLEMS + 1):
            # A name that is not known may be one that is near. It is looked for only where few are told.
            near = field if text == NOT_KNOWN and len(details) < MOST_SUGGESTIONS else None
            details.append({"row": place, "field": field, "problem": text + self._suggestion(near)})
        if not details:
            return RefusedError(422, f"The request does not keep the contract: {otherwise}.", rows=len(rows))
        first = details[0]
        where = f"row {first['row']}" + (f", {first['field']}" if first["field"] else "")
        count = f"{len(details)} problems; the first is" if len(details) > 1 else "a problem"
        if len(details) > MOST_PROBLEMS:
            count = f"more than {MOST_PROBLEMS} problems; the first is"
        error = f"The request has {count} in {where}: {first['problem']}."
        return RefusedError(422, error, details[:MOST_PROBLEMS], rows=len(rows))

    def _problems(self, row: Any) -> Iterator[tuple[str | None, str]]:
        """Yield the problems of a row one by one: of many, only the first ones are asked for."""
        if not isinstance(row, dict):
            yield None, "must be an object that has each feature by its name"
            return
        for name, feature in self.features.items():
            problem = _problem(feature, row[name]) if name in row else "is missing"
            if problem:
                yield name, problem
        for name in row:
            if name not in self.features and name not in self.along:
                yield shown(name), NOT_KNOWN
        entity = self.signature.entity
        if entity in self.along and entity in row:
            key = row[entity]
            if isinstance(key, (dict, list)):
                yield entity, "must be text or a number"
            elif isinstance(key, str) and len(key) > LONGEST_KEY:
                yield entity, f"must have at most {LONGEST_KEY} characters"
            elif not is_missing(key) and not self._is_key(key):
                noun = "text or a whole number" if self.signature.entity_kind == "text" else "a whole number"
                yield entity, f"must be {noun}"

    def _is_key(self, value: Any) -> bool:
        try:
            self._read_key(value)
        except ValueError:
            return False
        return True

    def _suggestion(self, name: str | None) -> str:
        near = get_close_matches(name, self.features, n=1) if name else []
        return f"; did you mean {near[0]!r}?" if near else ""

    def from_wrapped(self, body: bytes) -> list[Row]:
        """Read rows as MLflow, SageMaker, Vertex AI and Azure ML wrap them; raises as `from_json` does."""
        return protocols.rows_from_json(body, self)

    def from_csv(self, body: bytes) -> list[Row]:
        """Read CSV with a header; raises as `from_json` does."""
        return protocols.rows_from_csv(body, self)

    def from_tensors(self, content: Any) -> list[Row]:
        """Read an inference request of the Open Inference Protocol; raises as `from_json` does."""
        return protocols.rows_from_tensors(content, self)

    def tensor_inputs(self) -> list[dict[str, Any]]:
        """Return the inputs of the Open Inference Protocol: one tensor for each feature."""
        return [
            {"name": name, "datatype": protocols.datatype_of(feature), "shape": [-1]}
            for name, feature in self.features.items()
        ]

    def tensors(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return a row as the tensors of an inference request."""
        return protocols.tensors(self, request)

    def openapi(self) -> dict[str, Any]:
        """Return the JSON schema of a row."""
        return _row(self)

    def example(self, reference: Mapping[str, Any]) -> dict[str, Any]:
        """Return a typical row: of each number the median, of each category the most frequent one.

        No person's record stands in it, only statistics of the training data.

        Args:
            reference: the artifact's reference.json, or {}.
        """
        statistics = reference.get("features", {})
        return {name: _typical(feature, statistics.get(name, {})) for name, feature in self.features.items()}


def _time_told(value: Any) -> str | None:
    """Return text that looks like a time, and nothing else: what is kept must not be whatever a client writes."""
    return value if isinstance(value, str) and TIME.fullmatch(value) else None


def _type(feature: Feature) -> Any:
    if feature.kind == "number":
        lowest, highest = limits(feature)
        kind: Any = Annotated[float, Meta(ge=lowest, le=highest, multiple_of=None if feature.dtype == "float" else 1)]
        kind = kind | bool if feature.dtype == "boolean" else kind
    elif all(isinstance(value, bool) for value in feature.categories):
        kind = bool
    elif all(isinstance(value, str) for value in feature.categories):
        kind = str
    elif all(isinstance(value, int | float) and not isinstance(value, bool) for value in feature.categories):
        kind = int | float  # a table with missing values has 1.0 where 1 was
    else:
        kind = str | int | float | bool
    return kind | None if feature.nullable else kind


def limits(feature: Feature) -> tuple[float, float]:
    """Return the smallest and the largest number that is accepted."""
    lowest = -LARGEST if feature.minimum is None else max(feature.minimum, -LARGEST)
    highest = LARGEST if feature.maximum is None else min(feature.maximum, LARGEST)
    return lowest, highest


def _problem(feature: Feature, value: Any) -> str:
    """Return what is wrong with a value, or nothing."""
    if value is None:
        return "" if feature.nullable else "must not be null"
    if feature.other is not None:
        return "" if isinstance(value, str) and value else "must be text, and not empty"
    if feature.kind == "category":
        # True == 1 in Python, and not in JSON.
        same = [
            known
            for known in feature.categories
            if known == value and isinstance(known, bool) == isinstance(value, bool)
        ]
        return "" if same and not isinstance(value, (dict, list)) else f"must be {_choice(feature)}"
    noun = f"must be {NOUNS[of_feature(feature).kind]}"
    if feature.dtype == "boolean":
        return "" if isinstance(value, bool | int | float) and value in (0, 1) else noun
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return noun
    return _out_of_range(feature, value) or ("" if _is_one(feature, value) else noun)


def _is_one(feature: Feature, value: float) -> bool:
    """Say whether a number within the limits is one of the kind; NaN never is."""
    return float(value).is_integer() if feature.dtype == "integer" else value == value  # noqa: PLR0124


def _out_of_range(feature: Feature, value: float) -> str:
    lowest, highest = limits(feature)
    if value < lowest:
        return f"must be at least {lowest:g}"
    return f"must be at most {highest:g}" if value > highest else ""


def _choice(feature: Feature) -> str:
    known = [msgspec.json.encode(value).decode() for value in feature.categories[:MOST_CATEGORIES]]
    left = len(feature.categories) - len(known)
    return "one of " + ", ".join(known) + (f", … ({left} more)" if left else "")


def _typical(feature: Feature, statistics: dict[str, Any]) -> Any:
    if feature.kind == "category":
        counts = statistics.get("counts", {})
        return max(feature.categories, key=lambda value: counts.get(str(value), 0))
    lowest, highest = limits(feature)
    edges, counts = statistics.get("edges", []), statistics.get("counts", [])
    if not edges:
        if feature.nullable:
            return None
        return min(max(0.0, lowest), highest)
    # The edge below the bin in which the middle row lies: with bins that hold as many rows, the median.
    bin_of_middle = int(np.searchsorted(np.cumsum(counts), sum(counts) / 2, side="right"))
    value = float(f"{edges[min(bin_of_middle, len(edges) - 1)]:.{DIGITS}g}")
    return min(max(value, lowest), highest)


def _row(schema: Schema) -> dict[str, Any]:
    properties = {name: _column(feature) for name, feature in schema.features.items()}
    for name in schema.along:
        properties[name] = {"description": "May come along, and is not kept."}
    entity = schema.signature.entity
    if entity in schema.along:
        properties[entity] = {
            "type": ["string", "integer", "null"],
            "maxLength": LONGEST_KEY,
            "description": "Whom the row is about; may come along.",
        }
    if schema.signature.event_time in schema.along:
        properties[schema.signature.event_time] = {
            "description": "When the row's values were known, in ISO 8601; may come along, for labels to be joined by.",
        }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(schema.features),
        "properties": properties,
    }


def _column(feature: Feature) -> dict[str, Any]:
    if feature.other is not None:
        known = f"One of {len(feature.categories):,} known values; any other text is taken as {feature.other!r}."
        return {"type": ["string", "null"] if feature.nullable else "string", "minLength": 1, "description": known}
    if feature.kind == "category":
        return {"enum": [*feature.categories, *([None] if feature.nullable else [])]}
    lowest, highest = limits(feature)
    kinds = {"float": ["number"], "integer": ["integer"], "boolean": ["boolean", "number"]}[feature.dtype]
    kinds = [*kinds, "null"] if feature.nullable else kinds
    column: dict[str, Any] = {
        "type": kinds if len(kinds) > 1 else kinds[0],
        "minimum": lowest,
        "maximum": highest,
    }
    return column | ({"description": f"in {feature.unit}"} if feature.unit else {})
