"""The rows that the tests use: scikit-learn brings the table, so the tests need no download."""

import pandas as pd
from sklearn.datasets import load_breast_cancer


def example_rows() -> pd.DataFrame:
    """Return a raw table that keeps the contract."""
    table = load_breast_cancer(as_frame=True).frame
    table.columns = [name.replace(" ", "_") for name in table.columns]
    table["malignant"] = 1 - table.pop("target")  # the original counts benign as 1
    table.insert(0, "tumour_id", [f"tumour-{number:03d}" for number in range(len(table))])
    return table
