"""What one row is, what may stand in it, and which rows are held out.

One row is one person in one year of the RAND Health Insurance Experiment. The question is how often
the person sees a doctor in that year.

The table names neither persons nor years. But its rows are in order, and what a family was insured by
is the same in all rows of the family. So `family_id`, which data/make_table.py adds, numbers the runs
of rows with the same insurance. Two families next to each other with the same insurance count as one,
which is harmless. A family whose rows are not together counts as two: then it may be on both sides of
the split, and the verdict is that much too good.
"""

import pandas as pd
import pandera.pandas as pa
from twoloops import Frozen, Split, by_group, read_table

ENTITY = "family_id"  # whom a row is about: never on both sides of the split
EVENT_TIME = None  # the table does not say which row is which year
TARGET = "mdvis"
PERSONAL: list[str] = []  # nothing names a person, an address or a day

CONTRACT = pa.DataFrameSchema(
    {
        ENTITY: pa.Column(str),  # comes back: a family has several persons, and each several years
        "lncoins": pa.Column(float, pa.Check.in_range(0, 4.62), metadata={"unit": "ln(1 + percent)"}),
        "idp": pa.Column(int, pa.Check.isin([0, 1])),
        "lpi": pa.Column(float, pa.Check.in_range(0, 8), metadata={"unit": "ln(USD)"}),
        "fmde": pa.Column(float, pa.Check.in_range(0, 9), metadata={"unit": "ln(USD)"}),
        "physlm": pa.Column(float, pa.Check.in_range(0, 1)),
        "disea": pa.Column(float, pa.Check.in_range(0, 60)),
        "hlthg": pa.Column(int, pa.Check.isin([0, 1])),
        "hlthf": pa.Column(int, pa.Check.isin([0, 1])),
        "hlthp": pa.Column(int, pa.Check.isin([0, 1])),
        TARGET: pa.Column(float, pa.Check.in_range(0, 366), metadata={"unit": "visits"}),
    },
    strict="filter",  # a column that is not declared here is left out
    coerce=True,
)


def load(source: str) -> pd.DataFrame:
    """Return the raw table: one row a person and year, columns as in CONTRACT."""
    return read_table(source)


def split(frame: pd.DataFrame, share: float, frozen: Frozen | None) -> Split:
    """Hold out whole families: the model will be used for people whom it has not seen."""
    return by_group(frame, ENTITY, share, frozen)
