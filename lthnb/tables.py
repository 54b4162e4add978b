"""What a page prints: tables of numbers with their uncertainty, from records alone."""

from __future__ import annotations

import math

import numpy as np

from lthnb import profiles, stats
from lthnb.record import SPLITS, Record


def table(records: list[Record]) -> str:
    """Round, density and accuracy in percent on each split: mean and 95 % interval over seeds."""
    stats.same_data(records)
    head = f"{'round':>5}  {'density %':>9}" + "".join(f"  {split + ' %':>13}" for split in SPLITS)
    lines = [head]
    for index, density in enumerate(records[0].density):
        cells = [
            stats.interval([100 * record.accuracy(split)[index] for record in records]) for split in SPLITS
        ]
        shown = ["-" if math.isnan(cell.mean) else str(cell) for cell in cells]
        lines.append(f"{index:>5}  {100 * density:>9.2f}" + "".join(f"  {text:>13}" for text in shown))
    return "\n".join(lines)


def selection(records: list[Record]) -> str:
    """Test accuracy and paired gain over dense under each rule for the round: mean and 95 % interval."""
    lines = [f"{'ticket':<18}  {'density %':>9}  {'test %':>13}  {'gain, points':>13}"]
    for name, rule in stats.RULES.items():
        picked = [rule(record) for record in records]
        if None in picked:
            continue
        density = [100 * record.density[index] for record, index in zip(records, picked, strict=True)]
        test = [100 * record.accuracy("test")[index] for record, index in zip(records, picked, strict=True)]
        span = "-".join(dict.fromkeys(f"{edge:.1f}" for edge in (min(density), max(density))))
        gain = stats.interval(stats.gains(records, picked))
        lines.append(f"{name:<18}  {span:>9}  {stats.interval(test)!s:>13}  {gain!s:>13}")
    return "\n".join(lines)


def gain_table(records: list[Record]) -> str:
    """Dense, ticket at the paper's round, gains at that round on test and train, and at val's on test."""
    stats.same_data(records)
    rules = f"{'at %':>5} {'ticket %':>11} {'gain':>10} {'train':>5} {'val %':>5} {'gain':>4}"
    lines = [f"{'images':>6} {'augment':<11} {'n':>1} {'dense %':>11} {rules}"]
    for (images, augment), group in sorted(stats.grouped(records, "images", "augment").items()):
        dense = stats.interval([100 * record.accuracy("test")[0] for record in group])
        ticket = stats.interval([100 * stats.accuracy_at(r, stats.ticket_round(r)) for r in group])
        at, chosen = stats.ticket_round(group[0]), [stats.val_round(record) for record in group]
        density = np.exp(np.mean([np.log(100 * r.density[i]) for r, i in zip(group, chosen, strict=True)]))
        gain, its = stats.interval(stats.gains_over_dense(group)), np.mean(stats.gains(group, chosen))
        left = f"{images:>6} {augment:<11} {len(group):>1} {dense!s:>11}"
        fit = np.mean(stats.gains_over_dense(group, "train"))
        mine = f"{100 * group[0].density[at]:>5.1f} {ticket!s:>11} {gain!s:>10} {fit:>5.1f}"
        lines.append(f"{left} {mine} {density:>5.1f} {its:>4.1f}")
    return "\n".join(lines)


def contrast_table(records: list[Record], images: int) -> str:
    """The contrasts as a table: mean and 95 % interval, and the sign-flip p value of the primary one."""
    lines = [f"{'ticket minus':<22}  {'n':>2}  {'points':>13}"]
    for name, values in stats.contrasts(records, images).items():
        label = name if name != "small dense - dense" else "(small dense - dense)"
        lines.append(f"{label:<22}  {len(values):>2}  {stats.interval(values)!s:>13}")
    return "\n".join(lines)


def size_table(records: list[Record]) -> str:
    """Convolution weights and multiply-adds of tickets and small networks, over those of the dense one."""
    groups = stats.grouped(records, "control", "widths")
    ticket, index = groups["none", ""][0], stats.ticket_round(groups["none", ""][0])
    side = ticket.config.data.side or ticket.data["side"]

    def adds(record: Record) -> float:
        return sum(size * profiles.positions(name, side) for name, size in record.prunable.items())

    lines = [f"{'network':<24}  {'weights':>9}  {'weights %':>9}  {'multiply-adds %':>15}"]
    rows = [("dense", sum(ticket.prunable.values()), 1.0)]
    rows.append((f"ticket, round {index}", sum(ticket.rounds[index]["kept"]), profiles.work(ticket, index)))
    for (control, widths), group in sorted(groups.items()):
        if control == "none" and widths:
            weights = sum(group[0].prunable.values())
            rows.append((f"small dense {widths}", weights, adds(group[0]) / adds(ticket)))
    for name, weights, share in sorted(rows, key=lambda row: -row[1]):
        lines.append(f"{name:<24}  {weights:>9,}  {100 * weights / rows[0][1]:>9.2f}  {100 * share:>15.2f}")
    return "\n".join(lines)


def inside_table(records: list[Record], measures: list[dict]) -> str:
    """Multiply-adds left in each round, dead channels, norms of shortcut over main branch: seeds' means."""
    heads = f"{'zeros skipped %':>15}  {'dead removed %':>14}  {'dead channels':>13}"
    lines = [f"{'round':>5}  {'density %':>9}  {heads}"]
    for index, density in enumerate(records[0].density):
        left = 100 * np.mean([profiles.work(record, index) for record in records])
        slim, dead = (np.mean([each[name][index] for each in measures]) for name in ("channels", "dead"))
        lines.append(f"{index:>5}  {100 * density:>9.2f}  {left:>15.1f}  {100 * slim:>14.1f}  {dead:>13.1f}")
    for name in ("dense", "ticket"):
        norms = np.mean([each["norms"][name] for each in measures], 0)
        lines.append(f"shortcut / main branch, {name:<6}: " + " ".join(f"{value:.2f}" for value in norms))
    return "\n".join(lines)


def headline(records: list[Record], published_gain: float) -> dict[str, float | int | str]:
    """The numbers of a page's sentence, for ``glue``: dense and ticket in percent, the gain in points.

    The published gain is that of 500 images of CIFAR-10; on others there is nothing to compare.
    """
    record, index = records[0], stats.ticket_round(records[0])
    dense, ticket = (
        100 * float(np.mean([stats.accuracy_at(each, at) for each in records])) for at in (0, index)
    )
    gain = stats.interval(stats.gains_over_dense(records))
    comparable = "cifar10" in record.data["name"] and record.config.data.images == 500
    verdict = stats.direction(gain, published_gain) if comparable else "no published number"
    name = record.data["name"].removeprefix("folder:").partition("@")[0]
    values = {"images": sum(record.data["counts"]["train"]), "dataset": name, "seeds": gain.n, "round": index}
    values |= {"density": 100 * record.density[index], "dense": dense, "ticket": ticket, "gain": gain.mean}
    values |= {"gain_low": gain.low, "gain_high": gain.high, "published": published_gain}
    return values | {"verdict": verdict}
