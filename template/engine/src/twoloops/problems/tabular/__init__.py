"""Tables: a record is a row, an input a column that holds numbers or categories.

Loading this package loads nothing else: each method imports what it needs, because a service needs no training
library, and most verbs need neither.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from twoloops.contracts import signature as base_signature
from twoloops.contracts.captures import REQUEST_ID
from twoloops.contracts.watched import Watched
from twoloops.paths import paths
from twoloops.problem import data
from twoloops.problems.base import Inputs, Labels, Problem, Records, Target
from twoloops.problems.outputs import amounts, classes
from twoloops.problems.tabular.signature import Signature

if TYPE_CHECKING:
    from pydantic import BaseModel

    from twoloops.artifact import Predictor, Scores
    from twoloops.inner_loop.measure import Metric
    from twoloops.params import DataParams, Params
    from twoloops.problems.tabular.checking import TableBatches
    from twoloops.problems.tabular.schema import Schema

BaseSignature = base_signature.Signature


class Tabular(Problem):
    """Rows of a table. Records are data frames with the contract's columns."""

    def signature(self) -> Signature:
        """Return the signature that the contract in problem/data.py makes."""
        from twoloops.problems.tabular import contract

        found = contract.signature(data.CONTRACT, data, self.name)
        return found.model_copy(update={"decision_threshold": self.decision_threshold(found.classes)})

    def read_signature(self, text: str) -> Signature:
        """Read the signature of an artifact."""
        return Signature.model_validate_json(text)

    def watched(self, signature: BaseSignature) -> tuple[Watched, ...]:
        """Return the features: what is watched of a row is all that the model reads."""
        return tuple(
            Watched(each.name, each.categories if each.kind == "category" else None, each.unit)
            for each in _of_table(signature).features
        )

    # ---------------------------------------------------------------------- records

    def check(self, raw: Records, origin: str, *, labelled: bool = True) -> Records:
        """Return the rows with the contract's columns and types."""
        from twoloops.problems.tabular import contract

        demanded = data.CONTRACT if labelled else contract.without_target(data.CONTRACT, data)
        if labelled and Path(origin) == paths().sample:
            demanded = demanded.remove_columns(data.PERSONAL)  # as `without_people` has
        return contract.check(raw, demanded, origin)

    def examine(self, records: Records, signature: BaseSignature, params: DataParams) -> None:
        """Refuse rows that are too old, and a feature that alone tells the target."""
        from twoloops.problems.tabular import examining

        examining.refuse_old(records, params)
        examining.refuse_leaks(self.labelled(records), _of_table(signature), params)

    def labelled(self, records: Records) -> Records:
        """Return the rows whose target is known."""
        return records.dropna(subset=[data.TARGET]).reset_index(drop=True)

    def split(self, records: Records, share: float, frozen: Any) -> Any:
        """Split as problem/data.py does, without the personal columns."""
        return data.split(records.drop(columns=data.PERSONAL, errors="ignore"), share, frozen)

    def left_out(self, raw: Records) -> list[str]:
        """Return the columns that the contract does not know."""
        return [str(name) for name in raw.columns if name not in data.CONTRACT.columns]

    def warnings(self, records: Records, signature: BaseSignature) -> list[str]:
        """Tell features whose whole numbers are too large to be told apart by a model."""
        from twoloops.problems.tabular import examining

        return examining.collisions(records, _of_table(signature))

    def fields(self, signature: BaseSignature) -> list[str]:
        """Return the columns of the contract that `prepare` keeps."""
        return [str(name) for name in data.CONTRACT.columns if name not in data.PERSONAL]

    def take(self, records: Records, places: Sequence[int]) -> Records:
        """Return the rows at these places."""
        return records.iloc[list(places)]

    def entities(self, records: Records) -> NDArray[Any]:
        """Return whom each row is about, shape [rows]."""
        return np.asarray(records[data.ENTITY].to_numpy(), dtype=object)

    def times(self, records: Records) -> NDArray[np.datetime64] | None:
        """Return the event times, shape [rows], or None."""
        if data.EVENT_TIME is None:
            return None
        times = records[data.EVENT_TIME]
        plain = times.dt.tz_convert("UTC").dt.tz_localize(None) if times.dt.tz is not None else times
        return np.asarray(plain.to_numpy(), dtype="datetime64[us]")

    def version(self, records: Records) -> str:
        """Return a SHA-256 of the table's column names and values."""
        from twoloops.problems.tabular.files import data_version

        return data_version(records)

    def write(self, records: Records, path: Path) -> None:
        """Write rows as Parquet, or as CSV where the name ends in .csv."""
        from twoloops.problems.tabular.files import write_table

        write_table(path, records)

    def append(self, older: Records, newer: Records, seed: int) -> Records:
        """Return a table with simulated rows after it, from the time on at which it ends."""
        import pandas as pd

        moved = newer.assign(**{data.ENTITY: newer[data.ENTITY].astype(str) + f"-{seed}"})
        if data.EVENT_TIME is not None:
            moved[data.EVENT_TIME] += older[data.EVENT_TIME].max() - newer[data.EVENT_TIME].min()
        return pd.concat([older, moved], ignore_index=True)

    def without_people(self, parts: Sequence[Records]) -> Records:
        """Return the rows of all parts with numbers for the entities, and nothing of what somebody typed."""
        import pandas as pd

        from twoloops.problems.base import numbered
        from twoloops.problems.tabular import contract

        rows = pd.concat(list(parts), ignore_index=True)
        columns = contract.columns_of(data.CONTRACT)
        private = contract.find_private(data.CONTRACT, columns) - {data.EVENT_TIME, data.TARGET}
        for name in private & set(rows.columns):
            if name == data.ENTITY:
                names = numbered(rows[name].astype(str))
                whole = name in columns and columns[name].kind in ("integer", "number")
                rows[name] = [int(each.rpartition("-")[2]) for each in names] if whole else names
            elif data.CONTRACT.columns[name].nullable:
                rows[name] = None
            else:
                rows[name] = "left out"
        return rows.drop(columns=[name for name in data.PERSONAL if name in rows.columns and name != data.ENTITY])

    def read(self, path: Path) -> Records:
        """Read prepared rows."""
        import pandas as pd

        return pd.read_parquet(path)

    def draft(self, source: str, ask: Any, *, overwrite: bool) -> Any:
        """Draft the contract, the metrics, the tests and the data sheet from a table."""
        from twoloops.problems.tabular import drafting

        return drafting.draft(source, ask, overwrite=overwrite)

    # ---------------------------------------------------------------------- learning

    def target(self, records: Records, signature: BaseSignature) -> Target:
        """Return the encoded target, shape [rows]."""
        column = records[signature.target]
        values = column if signature.classes else column.to_numpy(dtype=np.float64, na_value=np.nan)
        return self.outputs.encode_target(values, signature.classes, signature.target)

    def encode(self, records: Records, signature: BaseSignature) -> Inputs:
        """Return the matrix that models read, shape [rows, features], float32."""
        from twoloops.problems.tabular.encoding import encode

        return encode(records, _of_table(signature).features)

    def learn(
        self, params: Params, section: BaseModel, inputs: Inputs, target: Target, signature: BaseSignature
    ) -> Any:
        """Fit the estimator on the features with their names, with as many threads as params.yaml says."""
        from twoloops.problems.tabular import learning

        return learning.learn(params, section, inputs, target, _of_table(signature))

    def answer(self, estimator: Any, inputs: Inputs, signature: BaseSignature) -> Scores:
        """Return what an estimator answers to the features with their names."""
        from twoloops.problems.tabular import learning

        return self.outputs.scores(estimator, learning.named(inputs, _of_table(signature)))

    def baseline(self, inputs: Inputs, target: Target, signature: BaseSignature) -> Any:
        """Return the project's simple model, fitted on the features with their names."""
        from twoloops.problems.tabular import learning

        return learning.baseline(inputs, target, _of_table(signature))

    # ---------------------------------------------------------------------- judging

    def slices(self, records: Records, fields: Sequence[str], minimum: int) -> dict[str, NDArray[np.int64]]:
        """Return the places of each slice `column=value` that has at least `minimum` rows."""
        from twoloops.problems.tabular import judging

        return judging.slices(records, fields, minimum)

    def one_by_one(self, records: Records, number: int, signature: BaseSignature) -> list[Records]:
        """Return single rows as columns by name, each of shape [1]: a service has no data frame either."""
        names = _of_table(signature).names
        rows = records[names].head(number).astype(object)
        plain = rows.where(rows.notna(), None)  # a type of data frames may have a missing value of its own
        return [
            dict(zip(names, ([value] for value in values), strict=True))
            for values in plain.itertuples(index=False, name=None)
        ]

    def importance(
        self, predictor: Predictor, records: Records, target: Target, metric: Metric, seed: int
    ) -> list[dict[str, Any]]:
        """Return the permutation importance and the cost of each feature, best first."""
        from twoloops.problems.tabular import judging

        return judging.importance(predictor, records, _of_table(predictor.signature), target, metric, seed)

    def card(self, verdict: Mapping[str, Any], signature: BaseSignature) -> list[str]:
        """Return the model card's table of features."""
        from twoloops.problems.tabular import judging

        return judging.card(verdict, _of_table(signature))

    # ---------------------------------------------------------------------- using

    def labels(self, source: str) -> Labels:
        """Return labels that came since; of those about one answer, the last."""
        from twoloops.problems.tabular import contract

        frame = contract.labels(source)
        requests = frame[REQUEST_ID].tolist() if REQUEST_ID in frame.columns else None
        times = self.times(frame) if data.EVENT_TIME in frame.columns else None
        keys = [name for name in (data.ENTITY, data.TARGET) if name in frame.columns]
        return Labels(frame[keys], frame[data.TARGET].tolist(), requests, times).newest(self)

    def read_times(self, texts: Sequence[str | None]) -> NDArray[np.datetime64]:
        """Return times as requests told them, by the rules of tables."""
        from twoloops.problems.tabular import reading

        read = reading.reader(reading.Column("", "time"))
        known: dict[str | None, Any] = {None: None}
        for text in set(texts) - {None}:
            with contextlib.suppress(ValueError):
                known[text] = read(text).replace(tzinfo=None)
        return np.asarray([known.get(text) for text in texts], dtype="datetime64[us]")

    def keys(self, raw: Records) -> dict[str, Sequence[Any]]:
        """Return entity and event time of raw rows, as far as they have them."""
        keys = [name for name in (data.ENTITY, data.EVENT_TIME) if name is not None]
        return {key: list(raw[key]) for key in keys if key in raw.columns}

    def write_predictions(self, records: Records, columns: Mapping[str, Any], target: Path) -> None:
        """Write entity, event time and predictions, as Parquet or CSV."""
        keys = [name for name in (data.ENTITY, data.EVENT_TIME) if name is not None]
        self.write(records[keys].assign(**columns), target)

    def write_rows(self, rows: Sequence[Mapping[str, Any]], target: Path) -> None:
        """Write plain rows, as Parquet or CSV."""
        import pandas as pd

        self.write(pd.DataFrame(rows), target)

    def explain(self, predictor: Predictor, source: str, row: int, entity: str | None) -> dict[str, Any]:
        """Follow one row through a model."""
        from twoloops.problems.tabular import explaining

        return explaining.explain(predictor, source, row, entity)

    # ---------------------------------------------------------------------- serving

    def schema(self, signature: BaseSignature, maximum_rows: int) -> Schema:
        """Return what reads and checks rows of requests."""
        from twoloops.problems.tabular.schema import Schema

        return Schema(_of_table(signature), maximum_rows)

    def requests(self, records: Records, signature: BaseSignature) -> list[dict[str, Any]]:
        """Return raw rows as JSON has them."""
        from twoloops.problems.tabular import requests

        return requests.of_table(records, _of_table(signature))

    def from_requests(self, requests: Sequence[Mapping[str, Any]]) -> Records:
        """Return rows as columns by name."""
        return {name: [row[name] for row in requests] for name in requests[0]}

    def draw_requests(
        self, reference: Mapping[str, Any], signature: BaseSignature, rows: int, seed: int
    ) -> list[dict[str, Any]]:
        """Draw rows, each feature by itself."""
        from twoloops.problems.tabular import requests

        return requests.draw(reference, _of_table(signature), rows, seed)

    def bad_requests(self, signature: BaseSignature, good: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
        """Yield rows that break the contract, each in one way."""
        from twoloops.problems.tabular import requests

        return requests.bad(_of_table(signature), good)

    def other_requests(self, signature: BaseSignature, good: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Yield good rows in the words of other protocols."""
        from twoloops.problems.tabular import requests

        return requests.in_other_words(_of_table(signature), good)

    def batches(self, signature: BaseSignature) -> TableBatches:
        """Return what checks and encodes Arrow batches."""
        from twoloops.problems.tabular.checking import TableBatches

        return TableBatches(_of_table(signature))


def _of_table(signature: BaseSignature) -> Signature:
    """Return a signature as that of a table: what is loaded by this problem is one."""
    return cast(Signature, signature)


classification: Final = Tabular("classification", classes)
regression: Final = Tabular("regression", amounts)
