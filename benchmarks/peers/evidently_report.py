# mypy: disable-error-code="import-not-found,import-untyped"
"""Run Evidently's preset for data drift with its defaults, and print the seconds.

python evidently_report.py REFERENCE.parquet CURRENT.parquet
"""

import json
import sys
import time

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

IDENTIFIER = "row_id"

before, now = (pd.read_parquet(source).drop(columns=IDENTIFIER) for source in sys.argv[1:3])
numbers = before.select_dtypes("number").columns.tolist()
categories = [name for name in before if name not in numbers]

start = time.perf_counter()
definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
sides = [Dataset.from_pandas(frame, data_definition=definition) for frame in (now, before)]
content = Report([DataDriftPreset()]).run(*sides).dict()
found = {"data frame to report": time.perf_counter() - start}
print(json.dumps({"rows": len(now), "metrics": len(content["metrics"]), "seconds": found}))
