"""What one row is, what may stand in it, and which rows are held out.

One row is one subscriber, seen once, on the day of `observed_at`. The question is whether the
subscriber cancels within the 30 days after it.
"""

import pandas as pd
import pandera.pandas as pa
from twoloops import Frozen, Split, by_time, read_table

ENTITY = "subscriber_id"  # whom a row is about: never on both sides of the split
EVENT_TIME = "observed_at"  # when the row's values were known; None if rows have no time
TARGET = "churned"
PERSONAL = ["email"]  # never a feature, never written by `prepare`

CONTRACT = pa.DataFrameSchema(
    {
        ENTITY: pa.Column(str, unique=True),
        EVENT_TIME: pa.Column(pd.DatetimeTZDtype("us", "UTC")),
        "email": pa.Column(str, nullable=True),
        "plan": pa.Column(str, pa.Check.isin(["basic", "standard", "premium"])),
        "channel": pa.Column(str, pa.Check.isin(["web", "shop", "partner"]), nullable=True),
        "region": pa.Column(str, pa.Check.isin(["north", "south", "east", "west"])),
        "age_group": pa.Column(str, pa.Check.isin(["under 30", "30 to 59", "60 and over"])),
        "tenure": pa.Column(float, pa.Check.in_range(0, 240), metadata={"unit": "months"}),
        "monthly_price": pa.Column(float, pa.Check.in_range(0, 200), metadata={"unit": "EUR"}),
        "usage_hours": pa.Column(float, pa.Check.in_range(0, 744), nullable=True, metadata={"unit": "h/month"}),
        "usage_change": pa.Column(float, pa.Check.in_range(-1, 10), nullable=True, metadata={"unit": "share"}),
        "support_calls": pa.Column(float, pa.Check.in_range(0, 100), metadata={"unit": "calls/month"}),
        "late_payments": pa.Column(float, pa.Check.in_range(0, 12), metadata={"unit": "payments/year"}),
        # Empty until the 30 days are over: `prepare` leaves such rows out.
        TARGET: pa.Column("Int64", pa.Check.isin([0, 1]), nullable=True),
    },
    strict="filter",  # a column that is not declared here is left out
    coerce=True,
)


def load(source: str) -> pd.DataFrame:
    """Return the raw table: one row a subscriber, columns as in CONTRACT."""
    return read_table(source)


def split(frame: pd.DataFrame, share: float, frozen: Frozen | None) -> Split:
    """Hold out the newest rows, as the model will be used: on a time it has not seen.

    Where entities come back, use `by_group(frame, ENTITY, share, frozen)`.
    """
    return by_time(frame, EVENT_TIME, share, frozen)
