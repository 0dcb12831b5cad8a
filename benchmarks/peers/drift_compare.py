# mypy: disable-error-code="import-not-found,import-untyped"
"""Compare a table with the model's reference statistics, and print the seconds. Runs in the project's environment.

python drift_compare.py ARTIFACT CURRENT.parquet
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
import scipy.spatial.distance
import scipy.stats
from twoloops import drift, params
from twoloops.artifact import Predictor

LIBRARIES = (scipy.spatial.distance, scipy.stats)  # the comparison imports them when it is called first

artifact, source = Path(sys.argv[1]), Path(sys.argv[2])
monitor = params.load().monitor
predictor = Predictor.load(artifact)
reference = json.loads((artifact / "reference.json").read_text(encoding="utf-8"))
frame = pd.read_parquet(source)

start = time.perf_counter()
inputs = predictor.problem.encode(frame, predictor.signature)
encoded = time.perf_counter()
scores = predictor.score_inputs(inputs)
scored = time.perf_counter()
report = drift.compare(predictor.problem.watch(inputs), scores, predictor.layout, reference, monitor)
compared = time.perf_counter()
found = {"compare": compared - scored, "data frame to report": compared - scored + encoded - start}
print(json.dumps({"rows": report.rows, "drifted": sorted(report.drifted_features), "seconds": found}))
