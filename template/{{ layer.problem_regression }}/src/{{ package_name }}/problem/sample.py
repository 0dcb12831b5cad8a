"""Simulated subscribers, to try the project before there is data. Nobody in it exists.

Delete this file once data.source in params.yaml names real data.
"""

import numpy as np
import pandas as pd

FIRST_DAY = "2025-01-01"
DAYS = 365
LABEL_DELAY_DAYS = 30


def simulate(rows: int, seed: int, drift: float = 0.0) -> pd.DataFrame:
    """Return a simulated raw table that keeps the contract in data.py.

    Args:
        rows: how many subscribers.
        seed: the same seed gives the same table.
        drift: how far the world has moved, 0 (not at all) to 1 (far): usage falls, prices rise,
            and what makes people spend changes.

    Returns:
        One row a subscriber, by time. The newest 30 days have no label yet.
    """
    random = np.random.default_rng(seed)
    day = np.sort(random.uniform(0, DAYS, rows))
    plan = random.choice(["basic", "standard", "premium"], rows, p=[0.5, 0.35, 0.15])
    tenure = np.minimum(random.gamma(1.5, 18, rows), 240).round(1)
    price = np.select([plan == "basic", plan == "standard"], [10.0, 20.0], 35.0) + random.normal(0, 2, rows) + 8 * drift
    price = price.clip(0, 200).round(2)
    usage = np.minimum(random.gamma(2, 12, rows) * (1 - 0.5 * drift), 744)
    change = np.clip(random.normal(-0.05 - 0.2 * drift, 0.3, rows), -1, 10)
    purchases = np.minimum(random.poisson(random.gamma(1.5, 1.2, rows)), 100).astype(float)
    late = np.minimum(random.poisson(0.8, rows), 12).astype(float)

    # What people spend: the price, of which the first half year costs half; hours beyond those that
    # the plan includes; and purchases, of which frequent buyers make dearer ones. Who paid late twice
    # has no extras. With drift the plans include fewer hours, and hours and purchases become dearer.
    included = np.select([plan == "basic", plan == "standard"], [15.0, 30.0], 60.0) * (1 - 0.5 * drift)
    extra_hours = np.maximum(usage * (1 + change) - included, 0)
    extras = (0.9 + 1.5 * drift) * extra_hours + np.where(purchases >= 3, 10.0, 5.0 + 5 * drift) * purchases
    extras *= (late < 2) * random.gamma(16, 1 / 16, rows)
    spend = price * np.where(tenure < 6, 0.5, 1.0) + extras + random.gamma(1, 3, rows)
    # Some pause for a month, for reasons that no column knows.
    spend *= random.uniform(size=rows) >= 0.02
    frame = pd.DataFrame(
        {
            "subscriber_id": [f"subscriber-{number:06d}" for number in random.permutation(rows)],
            "observed_at": pd.Timestamp(FIRST_DAY, tz="UTC") + pd.to_timedelta((day * 86_400).astype(int), unit="s"),
            "plan": plan,
            "channel": random.choice(["web", "shop", "partner"], rows, p=[0.6, 0.25, 0.15]),
            "region": random.choice(["north", "south", "east", "west"], rows),
            "age_group": random.choice(["under 30", "30 to 59", "60 and over"], rows, p=[0.3, 0.5, 0.2]),
            "tenure": tenure,
            "monthly_price": price,
            "usage_hours": usage.round(1),
            "usage_change": change.round(3),
            "purchases": purchases,
            "late_payments": late,
            "spend_next_30_days": pd.Series(spend.clip(0, 5000).round(2)).where(day < DAYS - LABEL_DELAY_DAYS),
        }
    )
    frame["email"] = frame["subscriber_id"] + "@example.com"
    for column, share in {"channel": 0.03, "usage_hours": 0.03, "usage_change": 0.03}.items():
        frame.loc[random.uniform(size=rows) < share, column] = None
    return frame
