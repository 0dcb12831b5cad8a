# mypy: disable-error-code="import-not-found,import-untyped"
"""The limit of scoring: read a Parquet file in chunks and write it, and print the seconds after the imports.

python copy_table.py SOURCE TARGET
"""

import json
import sys
import time

import numpy as np
import pyarrow as pa
from pyarrow import parquet

ROWS_AT_ONCE = 100_000

source, target = sys.argv[1:]
start = time.perf_counter()
random = np.random.default_rng(0).random(ROWS_AT_ONCE)  # takes a probability's place in the file
writer = None
for batch in parquet.ParquetFile(source).iter_batches(ROWS_AT_ONCE):
    table = pa.Table.from_batches([batch])
    table = table.append_column("probability", pa.array(random[: len(table)]))
    writer = writer or parquet.ParquetWriter(target, table.schema, compression="zstd")
    writer.write_table(table)
if writer:
    writer.close()
print(json.dumps({"seconds": time.perf_counter() - start}))
