"""Numbers with their uncertainty: the unit is the seed, comparisons are paired by seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import permutation_test, t

from lthnb.pages.frame import CONTROL_ARMS, at, pick

Values = Sequence[float] | np.ndarray | pd.Series
PAPERS_LAST_DENSITY = 0.034  # just below the 3.518 % of its fifteenth round


@dataclass(frozen=True)
class Interval:
    """Mean and Student t interval; ``low`` and ``high`` are nan for one value, which has none."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "-"
        if math.isnan(self.low):
            return f"{self.mean:.1f}"
        return f"{self.mean:.1f} ± {self.high - self.mean:.1f}"


def interval(values: Values) -> Interval:
    """95 % Student t interval of the mean of independent values."""
    numbers = pd.Series(values, dtype=float)
    n = len(numbers)
    mean = float(numbers.mean(skipna=False))
    half = float(t.ppf(0.975, n - 1) * numbers.sem())
    return Interval(mean, mean - half, mean + half, n)


def prediction(values: Values) -> Interval:
    """Interval that holds one more value of the same kind: mean +- t s sqrt(1 + 1/n)."""
    around = interval(values)
    half = (around.high - around.mean) * math.sqrt(around.n + 1)
    return Interval(around.mean, around.mean - half, around.mean + half, around.n)


def sign_flip(values: Values) -> float:
    """Two-sided p value of the sign-flip test that the mean of paired differences is 0; nan for one value.

    Exact (all 2**n sign patterns) up to 13 values; beyond, from 9,999 seeded patterns.
    """
    if len(values) < 2:
        return math.nan
    test = permutation_test((np.asarray(values, float),), np.mean, permutation_type="samples", rng=0)
    return float(test.pvalue)


def direction(gain: Interval, published: float) -> str:
    """Say what a run below paper scale may say of a published gain: direction agrees, opposite or open."""
    if not gain.low * gain.high > 0:  # both ends on one side of 0; nan is on none
        return "open"
    return "direction agrees" if (gain.mean > 0) == (published > 0) else "opposite"


def verdict(gains: Values, published: float, profile: str) -> str:
    """Say whether paired gains reproduce the published one, all in points; below paper scale ``direction``.

    *reproduced*: the interval excludes 0 with the published sign, the prediction interval holds the published
    gain; *partly*: only the former; *not*: the other sign, or an interval with 0 and without the published
    gain; *open*: else, and always for one seed.
    """
    gain = interval(gains)
    around = prediction(gains)
    sign = direction(gain, published)
    if profile != "paper":
        return sign
    if sign == "direction agrees":
        return "reproduced" if around.low <= published <= around.high else "partly"
    excluded = published < gain.low or gain.high < published
    return "not" if sign == "opposite" or excluded else "open"


def difference(first: pd.Series, second: pd.Series) -> pd.Series:
    """``first`` minus ``second``, values by seed, paired by seed.

    Raises:
        ValueError: they do not hold the same seeds once each.
    """
    seeds = sorted(first.index)
    others = sorted(second.index)
    if seeds != others or first.index.has_duplicates:
        raise ValueError(f"seeds {seeds} and {others} make no pairs, or one is there twice")
    return first - second


def gains(data: pd.DataFrame, which: str = "ticket", split: str = "test") -> pd.Series:
    """A run's ticket minus its own dense network, in points by seed; see ``frame.at`` for ``which``."""
    later = at(data, which, split)
    dense = at(data, "dense", split).set_index("key")["accuracy"]
    points = 100 * (later["accuracy"] - later["key"].map(dense))
    return points.set_axis(later["seed"])


def outcome(data: pd.DataFrame, split: str = "test") -> dict[str, float | int]:
    """Accuracies of dense and ticket in percent, the gain in points with its interval, and the pairs."""
    gain = interval(gains(data, split=split))
    dense, ticket = (at(data, which, split)["accuracy"].mean() for which in ("dense", "ticket"))
    return {
        "dense": float(100 * dense),
        "ticket": float(100 * ticket),
        "gain": gain.mean,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "n": gain.n,
    }


def best_gains(data: pd.DataFrame) -> pd.Series:
    """Gains as the paper counts them: best test epoch of the best round over best test epoch of the dense.

    Rounds beyond the paper's last are left out, and epochs that were not evaluated. Optimistic by
    construction; only for laying beside a published number. In points, by key of the run.
    """
    rows = pick(data, split="test")
    dense = at(data, "dense").set_index("key")["peak"]
    pruned = rows[rows["density"].between(PAPERS_LAST_DENSITY, 1, inclusive="neither")]
    return 100 * (pruned.groupby("key")["peak"].max() - dense).dropna()


def judged(data: pd.DataFrame, published: float, profile: str) -> str:
    """The verdict on a published gain: on ``best_gains`` at paper scale, else on the paper's round alone."""
    counted = best_gains(data) if profile == "paper" else gains(data)
    return verdict(counted, published, profile)


def density_taus(data: pd.DataFrame) -> pd.Series:
    """Kendall's tau-b of data size and the density chosen on val, per set, seed and augmentation.

    nan where one of them is constant or there are fewer than two.
    """
    groups = at(data, "chosen").groupby(["data", "seed", "augment"])
    taus = [group["images"].corr(group["density"], "kendall", min_periods=2) for _, group in groups]
    return pd.Series(taus, dtype=float)


def equal_size(dense: pd.Series, value: float) -> float:
    """Images at which the dense network would score ``value``, on a log scale between the sizes run.

    ``dense`` holds accuracies by size, rising; inf where even the largest size does not reach the value.
    """
    if value > dense.max():
        return math.inf
    sizes = np.log(dense.index)
    return float(np.exp(np.interp(value, dense.cummax(), sizes)))


def contrasts(data: pd.DataFrame) -> dict[str, pd.Series]:
    """Ticket at the paper's round minus each control at the same round or size, in points by seed.

    ``data`` holds runs of one size. Also ``small dense - dense``: what fewer weights alone do.
    """
    tickets = at(pick(data, arm="ticket"), "ticket")
    same_round = pick(data, round=tickets["round"].iloc[0], split="test")
    rows = {
        "ticket": tickets,
        "dense": at(pick(data, arm="dense"), "dense"),
        "small dense": nearest_size(data, tickets["kept"].iloc[0]),
        **{name: pick(same_round, arm=name) for name in CONTROL_ARMS.values()},
    }
    points = {name: 100 * of_arm.set_index("seed")["accuracy"] for name, of_arm in rows.items()}
    ticket = points.pop("ticket")
    differences = {name: difference(ticket, other) for name, other in points.items()}
    return differences | {"small dense - dense": difference(points["small dense"], points["dense"])}


def nearest_size(data: pd.DataFrame, weights: int) -> pd.DataFrame:
    """Of small dense networks of several widths, the rows of those nearest to a number of weights."""
    small = at(pick(data, arm="small dense"), "dense")
    off = np.log(small["kept"] / weights).abs()
    return pick(small, widths=small["widths"][off.idxmin()])
