"""What one row is, what may stand in it, and which rows are held out.

One row is one tumour, measured once under the microscope. The question is whether it is malignant.
"""

import pandas as pd
import pandera.pandas as pa
from twoloops import Frozen, Split, by_group, read_table

ENTITY = "tumour_id"
EVENT_TIME = None  # nobody wrote down when a tumour was measured
TARGET = "malignant"
PERSONAL: list[str] = []

# The largest value that each measurement may have; the smallest is 0.
LARGEST = {
    "radius": 100,
    "texture": 100,
    "perimeter": 1000,
    "area": 10_000,
    "smoothness": 1,
    "compactness": 2,
    "concavity": 2,
    "concave_points": 1,
    "symmetry": 1,
    "fractal_dimension": 1,
}
# Each is there as the mean over the cells, its standard error, and the mean of the three largest.
FORMS = ["mean_{}", "{}_error", "worst_{}"]

CONTRACT = pa.DataFrameSchema(
    {
        ENTITY: pa.Column(str, unique=True),
        **{
            form.format(name): pa.Column(float, pa.Check.in_range(0, largest))
            for form in FORMS
            for name, largest in LARGEST.items()
        },
        TARGET: pa.Column("Int64", pa.Check.isin([0, 1])),
    },
    strict="filter",  # a column that is not declared here is left out
    coerce=True,
)


def load(source: str) -> pd.DataFrame:
    """Return the raw table: one row a tumour, columns as in CONTRACT."""
    return read_table(source)


def split(frame: pd.DataFrame, share: float, frozen: Frozen | None) -> Split:
    """Hold out tumours by a hash of their id: rows without a time have no newest part."""
    return by_group(frame, ENTITY, share, frozen)
