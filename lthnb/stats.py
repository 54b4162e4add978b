"""Numbers with their uncertainty: the unit is the seed, comparisons are paired by seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lthnb.record import Record

# the paper's round by number of images, from the widths of its small dense networks
PAPER_ROUND = {500: 15, 1000: 15, 5000: 4, 10_000: 2, 25_000: 1, 50_000: 2}


@dataclass(frozen=True)
class Interval:
    """Mean and Student t interval; ``low`` and ``high`` are nan for one value, which has none."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if math.isnan(self.low) else f" ± {self.high - self.mean:.1f}")


def interval(values: list[float] | np.ndarray, level: float = 0.95) -> Interval:
    """Student t interval of the mean of independent values."""
    from scipy import stats  # here, so that training needs no SciPy

    values = np.asarray(values, float)
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def prediction(values: list[float] | np.ndarray, level: float = 0.95) -> Interval:
    """Interval that holds one more value of the same kind: mean +- t s sqrt(1 + 1/n)."""
    found = interval(values, level)
    half = (found.high - found.mean) * math.sqrt(found.n + 1)
    return Interval(found.mean, found.mean - half, found.mean + half, found.n)


def sign_flip(values: list[float] | np.ndarray) -> float:
    """Two-sided p value of the sign-flip test that the mean of paired differences is 0; nan for one value.

    Exact (all 2**n sign patterns) up to 13 values; beyond, from 9,999 seeded patterns.
    """
    from scipy.stats import permutation_test

    if len(values) < 2:
        return math.nan
    return float(permutation_test((values,), np.mean, permutation_type="samples", rng=0).pvalue)


def kendall(first: list[float] | np.ndarray, second: list[float] | np.ndarray) -> float:
    """Kendall's tau-b of two equally long lists; nan when one is constant or shorter than two."""
    from scipy.stats import kendalltau

    return float(kendalltau(first, second).statistic) if min(len(first), len(second)) > 1 else math.nan


def chosen_on_val(rows: list[dict]) -> int | None:
    """Round >= 1 with most right answers on val, of equals the denser; None without val or prunings."""
    candidates = [row for row in rows if row["round"] and row["total"]["val"]]
    return max(candidates, key=lambda row: row["correct"]["val"])["round"] if candidates else None


def best_on_test(rows: list[dict]) -> int:
    """Round with most right answers on test: optimistic, kept beside the others because the paper used it."""
    return max(rows, key=lambda row: row["correct"]["test"])["round"]


def paper_round(images: int, density: list[float]) -> int:
    """Round >= 1 whose density is nearest to the paper's at this number of images; 0 if none was run.

    Its own round for a size follows from the widths of its small dense networks; for sizes between, the
    nearest size.
    """
    nearest = min(PAPER_ROUND, key=lambda size: abs(math.log(size / images)))
    aim = math.log(0.8 ** PAPER_ROUND[nearest])
    later = [index for index in range(1, len(density)) if density[index] > 0]
    return min(later, key=lambda index: abs(math.log(density[index]) - aim), default=0)


def gains(records: list[Record], rounds: list[int], split: str = "test") -> list[float]:
    """Accuracy of a round minus that of round 0, in points, one per record; a record is its own pair."""
    pairs = [(record.accuracy(split), index) for record, index in zip(records, rounds, strict=True)]
    return [100 * (values[index] - values[0]) for values, index in pairs]


def accuracy_at(record: Record, index: int, split: str = "test") -> float:
    """Accuracy of the round called ``index``, as a fraction; the record may hold only some rounds."""
    held = [row["round"] for row in record.rounds]
    if index not in held:
        raise ValueError(f"{record.config.slug} holds rounds {', '.join(map(str, held))}, not {index}")
    return record.accuracy(split)[held.index(index)]


def paired(
    first: list[Record],
    second: list[Record],
    rounds_first: list[int],
    rounds_second: list[int],
    split: str = "test",
) -> list[float]:
    """Accuracy of ``first`` minus that of ``second``, in points, one per seed, in the order of ``first``.

    Each record is read at its own round. Raises ``ValueError`` unless both hold the same seeds once each.
    """
    mine, theirs = (
        {record.config.seed: accuracy_at(record, index, split) for record, index in zip(*side, strict=True)}
        for side in ((first, rounds_first), (second, rounds_second))
    )
    if mine.keys() != theirs.keys() or len(mine) < max(len(first), len(second)):
        raise ValueError(f"seeds {sorted(mine)} and {sorted(theirs)} make no pairs, or one is there twice")
    return [100 * (value - theirs[seed]) for seed, value in mine.items()]


def direction(gain: Interval, published: float) -> str:
    """Say what a run below paper scale may say of a published gain: direction agrees, opposite or open."""
    if math.isnan(gain.low) or gain.low <= 0 <= gain.high:
        return "open"
    return "direction agrees" if (gain.mean > 0) == (published > 0) else "opposite"


def verdict(gains: list[float], published: float, profile: str) -> str:
    """Say whether paired gains reproduce the published one, all in points; below paper scale ``direction``.

    *reproduced*: the interval excludes 0 with the published sign, the prediction interval holds the published
    gain; *partly*: only the former; *not*: the other sign, or an interval with 0 and without the published
    gain; *open*: else, and always for one seed.
    """
    gain, around = interval(gains), prediction(gains)
    sign = direction(gain, published)
    if profile != "paper":
        return sign
    if sign == "direction agrees":
        return "reproduced" if around.low <= published <= around.high else "partly"
    return "not" if sign == "opposite" or published < gain.low or gain.high < published else "open"


def grouped(records: list[Record], *names: str) -> dict[tuple, list[Record]]:
    """Records by the values of fields of their configurations, each group in the order of its seeds."""
    found: dict[tuple, list[Record]] = {}
    for record in sorted(records, key=lambda each: each.config.seed):
        found.setdefault(tuple(record.config.field(name) for name in names), []).append(record)
    return found


def pick(records: list[Record], **fields: object) -> list[Record]:
    """The records whose configurations have these values, in the order of their seeds."""
    chosen = (r for r in records if all(r.config.field(name) == value for name, value in fields.items()))
    return sorted(chosen, key=lambda record: record.config.seed)


def ticket_round(record: Record) -> int:
    """The paper's round for the size of a run that pruned; 0 for one that did not."""
    return paper_round(record.config.data.images, record.density)


def val_round(record: Record) -> int:
    """The round chosen on val; 0 where nothing was pruned or there is no val."""
    return (record.chosen["val"] or {}).get("round", 0)


def gains_over_dense(records: list[Record], split: str = "test") -> list[float]:
    """Paired gains, in points, of the tickets at the paper's round, one per seed."""
    return gains(records, [ticket_round(record) for record in records], split)


def best_gains(records: list[Record]) -> list[float]:
    """Gains as the paper counts them: best test epoch of the best round over best test epoch of the dense.

    Rounds beyond the paper's last are left out, and epochs that were not evaluated. Optimistic by
    construction; only for laying beside a published number.
    """
    found = []
    for record in records:
        best = [max(point["test"] for point in row["curve"]["correct"]) for row in record.rounds]
        later = [value for value, density in zip(best, record.density, strict=True) if 0.034 < density < 1]
        found.append(100 * (max(later) - best[0]) / record.rounds[0]["total"]["test"])
    return found


def judged(records: list[Record], published: float, profile: str) -> str:
    """The verdict on a published gain: on ``best_gains`` at paper scale, else on the paper's round alone."""
    found = best_gains(records) if profile == "paper" else gains_over_dense(records)
    return verdict(found, published, profile)


def density_taus(records: list[Record]) -> list[float]:
    """Kendall's tau of data size and the density chosen on val, one per seed and augmentation; or nan."""
    taus = []
    for group in grouped(records, "seed", "augment").values():
        chosen = [record.density[val_round(record)] for record in group]
        taus.append(kendall([record.config.data.images for record in group], chosen))
    return taus


def defined_mean(values: list[float]) -> float:
    """Mean of the values that are not nan; nan if there are none."""
    held = [value for value in values if not math.isnan(value)]
    return float(np.mean(held)) if held else math.nan


def interaction(plain: list[Record], augmented: list[Record]) -> list[float]:
    """(ticket - dense) with augmentation minus (ticket - dense) without, in points, one per seed."""
    second = dict(zip([record.config.seed for record in plain], gains_over_dense(plain), strict=True))
    first = zip(augmented, gains_over_dense(augmented), strict=True)
    return [gain - second[record.config.seed] for record, gain in first if record.config.seed in second]


def steps(record: Record) -> int:
    """SGD steps of the dense training."""
    config = record.config
    return config.train.epochs * math.ceil(config.data.images / config.train.batch_size)


def equal_size(sizes: list[int], dense: list[float], value: float) -> float:
    """Number of images at which the dense network would score ``value``, on a log scale between those run.

    inf where even the largest size does not reach it.
    """
    if value > max(dense):
        return math.inf
    return float(np.exp(np.interp(value, np.maximum.accumulate(dense), np.log(sizes))))


def same_data(records: list[Record]) -> None:
    """Raise ``ValueError`` unless all records were made on the same images and at the same image side."""
    found = {(record.data["sha256"], record.config.data.side) for record in records}
    if len(found) > 1:
        raise ValueError(f"records of {len(found)} different data sets do not belong in one curve")


RULES = {
    "the paper's round": lambda record: paper_round(record.config.data.images, record.density),
    "chosen on val": lambda record: (record.chosen["val"] or {}).get("round"),
    "best on test": lambda record: record.chosen["test"],
}


CONTROLS = {"random masks": "random", "shuffled in layers": "shuffled", "reinitialised": "reinit"}


def contrasts(records: list[Record], images: int) -> dict[str, list[float]]:
    """Ticket at the paper's round minus each control at the same round or size, in points, one per seed.

    Also ``small dense - dense``: what fewer weights alone do.
    """
    groups = grouped([r for r in records if r.config.data.images == images], "control", "widths")
    tickets = groups["none", ""]
    at, zero = [ticket_round(record) for record in tickets], [0] * len(tickets)
    found = {"dense": paired(tickets, tickets, at, zero)}
    small = nearest_size(groups, tickets[0])
    found["small dense"] = paired(tickets, small, at, [0] * len(small))
    for name, control in CONTROLS.items():
        found[name] = paired(tickets, groups[control, ""], at, at)
    found["small dense - dense"] = paired(small, tickets, [0] * len(small), zero)
    return found


def nearest_size(groups: dict[tuple, list[Record]], ticket: Record) -> list[Record]:
    """Of dense networks of several widths, those whose size is nearest to the ticket at the paper's round."""
    aim = ticket.rounds[ticket_round(ticket)]["kept"]
    dense = [group for (control, widths), group in groups.items() if control == "none" and widths]
    return min(dense, key=lambda group: abs(math.log(sum(group[0].prunable.values()) / sum(aim))))
