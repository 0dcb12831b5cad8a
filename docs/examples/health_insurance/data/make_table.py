"""Make data/raw/visits.parquet from the table that statsmodels brings along: rows of the RAND experiment.

uv run --with "statsmodels>=0.14.5" python data/make_table.py
"""

from pathlib import Path

import pandas as pd
from statsmodels.datasets import randhie

TARGET = Path(__file__).parent / "raw" / "visits.parquet"
PLAN = ["lncoins", "idp", "lpi", "fmde"]  # what a family was insured by: the same for all of its rows


def make_table() -> pd.DataFrame:
    """Return the table with the column that it lacks: which rows belong to one family."""
    table = randhie.load_pandas().data
    plan = table[PLAN]
    family = (plan != plan.shift()).any(axis=1).cumsum()
    table.insert(0, "family_id", [f"family-{number:04d}" for number in family])
    return table


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    make_table().to_parquet(TARGET, index=False)
