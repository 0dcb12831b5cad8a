"""The rows that the tests use: 600 of the real ones, drawn by lot.

They come from statsmodels.datasets.randhie (public domain), which the project does not install.
"""

from pathlib import Path

import pandas as pd


def example_rows() -> pd.DataFrame:
    """Return a small raw table that keeps the contract."""
    return pd.read_json(Path(__file__).with_name("example.json"), orient="split", precise_float=True)
