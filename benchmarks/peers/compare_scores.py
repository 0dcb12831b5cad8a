# mypy: disable-error-code="import-not-found,import-untyped"
"""Print the largest difference of two scored tables' probabilities, row by row, and the number of rows.

python compare_scores.py OURS THEIRS        each a Parquet file, or a folder of such files
"""

import json
import sys

import numpy as np
from pyarrow import dataset

IDENTIFIER = "row_id"

ours = dataset.dataset(sys.argv[1], format="parquet").to_table(columns=[IDENTIFIER, "probability_1"])
theirs = dataset.dataset(sys.argv[2], format="parquet").to_table(columns=[IDENTIFIER, "probability"])
one, other = ours.sort_by(IDENTIFIER), theirs.sort_by(IDENTIFIER)
if one[IDENTIFIER] != other[IDENTIFIER]:
    sys.exit("The tables do not have the same rows.")
difference = float(np.abs(one["probability_1"].to_numpy() - other["probability"].to_numpy()).max())
print(json.dumps({"rows": one.num_rows, "difference": difference}))
