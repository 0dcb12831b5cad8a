"""Is the canary worse? Tests of errors that may be looked at as often as one likes.

Evidence is a likelihood ratio of "worse" against "no worse", averaged over how much worse it may be. Where it is no
worse, the evidence ever reaches 1 / level with a probability of at most `level`, however often one looks (Ville, 1939;
Wald, Sequential Tests of Statistical Hypotheses, 1945; Johari et al., Peeking at A/B Tests, 2017). So a look each
second needs no correction. `benchmarks/judgement.py canary` shows false alarms and how soon a fault is found.
"""

from __future__ import annotations

import math

LEVEL = 0.01  # of good canaries, at most so many are taken back because of errors
ENOUGH_EVIDENCE = 1 / LEVEL
TIMES = tuple(2.0**power for power in range(1, 11))  # how many times as many errors the alternatives have
MOST = 0.99  # the largest rate of errors among the alternatives


def is_above(errors: float, requests: float, allowed: float) -> float:
    """Return the evidence that requests fail more often than is allowed.

    Args:
        errors: requests that failed.
        requests: all.
        allowed: a rate of errors, 0 to below 1; of 0 the first error is proof.
    """
    if not errors:
        return 0.0
    if allowed <= 0:
        return math.inf
    rates = sorted({min(times * allowed, MOST) for times in TIMES if allowed < MOST})
    return _average([_ratio(errors, requests - errors, rate, allowed) for rate in rates])


def is_worse(new_errors: float, new_requests: float, old_errors: float, old_requests: float) -> float:
    """Return the evidence that the new version fails more often than the old one in the same time.

    Given how many requests failed, each of them is the new version's with the probability of its share of the
    requests, if it is no worse: the rate itself, which may change with the hour, plays no part.
    """
    if not new_errors:
        return 0.0
    if not old_requests:
        return math.inf  # there is nobody to compare with: what is allowed decides alone
    share = new_requests / (new_requests + old_requests)
    shares = [times * share / (times * share + 1 - share) for times in TIMES]
    return _average([_ratio(new_errors, old_errors, each, share) for each in shares])


def _ratio(hits: float, misses: float, one: float, other: float) -> float:
    """Return the logarithm of the likelihood ratio of two probabilities of a hit."""
    return hits * math.log(one / other) + misses * (math.log1p(-one) - math.log1p(-other))


def _average(logarithms: list[float]) -> float:
    if not logarithms:
        return 0.0
    largest = max(logarithms)
    return math.exp(min(largest, 700.0)) * sum(math.exp(each - largest) for each in logarithms) / len(logarithms)


def highest_rate(errors: int, requests: int, level: float = 0.05) -> float:
    """Return the largest rate of errors that such counts leave possible (Clopper and Pearson, 1934).

    Args:
        errors: requests that failed.
        requests: all.
        level: the rate is higher with this probability at most.
    """
    from scipy.stats import beta

    return 1.0 if errors >= requests else float(beta.ppf(1 - level, errors + 1, requests - errors))
