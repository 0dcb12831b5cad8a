# mypy: disable-error-code="import-not-found,import-untyped"
"""Score a Parquet file with MLflow's pyfunc in chunks, and print the seconds after the imports.

python mlflow_score.py MODEL SOURCE TARGET
"""

import json
import sys
import time

import mlflow
import pyarrow as pa
from pyarrow import parquet

ROWS_AT_ONCE = 100_000
IDENTIFIER = "row_id"

uri, source, target = sys.argv[1:]
start = time.perf_counter()
model = mlflow.pyfunc.load_model(uri)
writer = None
for batch in parquet.ParquetFile(source).iter_batches(ROWS_AT_ONCE):
    table = pa.Table.from_batches([batch])
    scores = model.predict(table.drop_columns(IDENTIFIER).to_pandas())
    table = table.append_column("probability", pa.array(scores[:, 1]))
    writer = writer or parquet.ParquetWriter(target, table.schema, compression="zstd")
    writer.write_table(table)
if writer:
    writer.close()
print(json.dumps({"seconds": time.perf_counter() - start}))
