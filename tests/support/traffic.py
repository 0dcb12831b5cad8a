"""What a service would capture of simulated traffic."""

from __future__ import annotations

# Runs in a project: python -c TRAFFIC ROWS SEED DRIFT
TRAFFIC = """
import json, sys, uuid
from datetime import UTC, datetime
from pathlib import Path
import pyarrow as pa
from pyarrow import parquet as pq
from twoloops import Predictor, problem, registry

rows, seed, drift = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
version = registry.find_in_use()
predictor = Predictor.load(version.uri)
signature = predictor.signature
frame = problem.module("sample").simulate(rows, seed, drift)
scores = predictor.scores(frame)
now = datetime.now(UTC)
columns = {
    "captured_at": pa.array([now] * rows, pa.timestamp("us", "UTC")),
    "request_id": [uuid.uuid4().hex for _ in range(rows)],
    "model_version": [version.number] * rows,
    "model": [predictor.identity] * rows,
    "entity": list(frame[signature.entity]),
}
for feature in signature.features:
    columns[f"feature.{feature.name}"] = pa.array(frame[feature.name], from_pandas=True)
for place, name in enumerate(signature.outputs):
    columns[f"score.{name}"] = scores[:, place]
table = pa.table(columns).replace_schema_metadata({"quality": json.dumps({"refused": 2, "dropped": 0})})
folder = Path("data/captures/production")
folder.mkdir(parents=True, exist_ok=True)
pq.write_table(table, folder / f"{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex}.parquet")
"""
