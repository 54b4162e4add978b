"""Every plot, one function per kind, from records alone. Dense is grey, tickets are blue, controls orange."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lthnb import profiles, stats
from lthnb.config import AUGMENTATIONS
from lthnb.record import Record

DENSE, TICKET, CONTROL = "#6b6b6b", "#1f6fb4", "#e07b00"
SPLIT_LINES = {"test": "-", "val": "--", "train": ":"}


STYLE = """figure.figsize: 7, 4
figure.dpi: 110
figure.constrained_layout.use: True
font.size: 11
axes.spines.top: False
axes.spines.right: False
axes.grid: True
grid.alpha: 0.25
legend.frameon: False
lines.linewidth: 2"""


def use_style() -> None:
    """Set matplotlib's defaults for all pages: readable at column width, in print and on a phone."""
    plt.rcParams.update(dict(line.split(": ") for line in STYLE.splitlines()))


def _density_axis(ax: Axes, density: list[float]) -> None:
    ax.set_xscale("log")
    ax.set_xlim(max(density) * 1.15, min(density) / 1.15)  # pruning goes on to the right
    ticks = density if len(density) < 7 else density[::3]
    ax.set_xticks(ticks, minor=False)
    ax.xaxis.set_minor_locator(plt.NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}"))
    ax.set_xlabel("density (% of weights kept, log)")


def panels(*widths: float) -> list[Axes]:
    """Axes side by side, as wide as ``widths`` say."""
    return list(plt.subplots(1, len(widths), figsize=(8, 3.6), width_ratios=widths)[1])


def accuracy_by_density(
    records: list[Record], splits: tuple[str, ...] = ("test", "val"), ax: Axes | None = None
) -> Axes:
    """Accuracy (%) of the last epoch against density: mean over seeds, 95 % band on the first split.

    Single seeds are thin lines. The grey point and line are the dense network.
    """
    stats.same_data(records)
    ax = ax or plt.gca()
    density = records[0].density
    for split in splits:
        values = np.array([record.accuracy(split) for record in records]) * 100
        if np.isnan(values).all():
            continue
        spread = [stats.interval(column) for column in values.T]
        mean = [each.mean for each in spread]
        ax.plot(density, mean, SPLIT_LINES[split], color=TICKET, label=f"ticket, {split}")
        if split == splits[0]:
            ax.plot(density, values.T, color=TICKET, linewidth=0.6, alpha=0.5)
            ax.fill_between(
                density, [s.low for s in spread], [s.high for s in spread], color=TICKET, alpha=0.15
            )
            ax.axhline(mean[0], color=DENSE, linewidth=1)
            ax.plot(density[:1], mean[:1], "o", color=DENSE, label=f"dense, {split}")
    _density_axis(ax, density)
    ax.set_ylabel("accuracy (%)")
    ax.legend(loc="best")
    return ax


def _spread(
    ax: Axes, place: float, values: list[float], colour: str, label: str = "", marker: str = "o"
) -> None:
    """A mean with its 95 % interval, and every seed as a small point."""
    mean = stats.interval(values)
    half = None if np.isnan(mean.low) else mean.high - mean.mean
    ax.plot([place] * len(values), values, ".", color=colour, markersize=4, alpha=0.5)
    ax.errorbar(place, mean.mean, half, fmt=marker, color=colour, capsize=3, markersize=6, label=label)


def dense_and_ticket(records: list[Record], ax: Axes | None = None) -> Axes:
    """Test accuracy (%) of dense networks and of tickets at the paper's round, for each augmentation."""
    stats.same_data(records)
    ax = ax or plt.gca()
    groups = stats.grouped(records, "augment")
    groups = {(name,): groups[name,] for name in AUGMENTATIONS if (name,) in groups}
    for place, group in enumerate(groups.values()):
        first = place == 0
        dense, ticket = (
            [100 * stats.accuracy_at(r, at(r)) for r in group] for at in (lambda _: 0, stats.ticket_round)
        )
        for one, other in zip(dense, ticket, strict=True):
            ax.plot([place - 0.12, place + 0.12], [one, other], color=TICKET, linewidth=0.6, alpha=0.5)
        _spread(ax, place - 0.12, dense, DENSE, "dense" if first else "")
        _spread(ax, place + 0.12, ticket, TICKET, "ticket" if first else "")
    ax.set_xticks(range(len(groups)), [augment.replace("+", "\n+ ") for (augment,) in groups])
    ax.set(ylabel="test accuracy (%)", xlabel=f"augmentation ({records[0].config.data.images:,} images)")
    ax.legend(loc="best")
    return ax


def accuracy_by_size(
    records: list[Record], ax: Axes | None = None, rule: Callable[[Record], int] = stats.ticket_round
) -> Axes:
    """Test accuracy (%) against training images (log) and SGD steps: dense grey, ticket of a rule blue."""
    stats.same_data(records)
    ax = ax or plt.gca()
    sizes = {}
    for (augment,), group in stats.grouped(records, "augment").items():
        style = "-o" if augment == "base" else "--s" if augment.startswith("rand") else ":^"
        for name, colour, at in (("dense", DENSE, lambda _: 0), ("ticket", TICKET, rule)):
            points = {}
            for (images,), some in sorted(stats.grouped(group, "images").items()):
                points[images] = 100 * np.mean([stats.accuracy_at(record, at(record)) for record in some])
                sizes[images] = stats.steps(some[0])
            ax.plot(
                points.keys(), points.values(), style, color=colour, markersize=5, label=f"{name}, {augment}"
            )
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(plt.NullLocator())
    ax.set_xticks(sorted(sizes), [f"{images:,}\n{sizes[images]:,}" for images in sorted(sizes)])
    ax.set(xlabel="training images (log), below them SGD steps", ylabel="test accuracy (%)")
    ax.legend(loc="best")
    return ax


LINES = {
    "random": ("--", "random masks"),
    "shuffled": (":", "shuffled in layers"),
    "reinit": ("-.", "reinitialised"),
}


def controls_by_density(records: list[Record], ax: Axes | None = None) -> Axes:
    """Test accuracy (%) against density: ticket blue with 95 % band, controls orange, the dense level grey.

    A small dense network stands at the density of a ticket with as many convolution weights.
    """
    stats.same_data(records)
    ax = ax or plt.gca()
    groups = stats.grouped(records, "control", "widths")
    tickets = groups["none", ""]
    accuracy_by_density(tickets, ("test",), ax)
    for (control, _), group in groups.items():
        if control != "none":
            means = 100 * np.mean([record.accuracy("test") for record in group], 0)
            style, name = LINES[control]
            ax.plot(group[0].density, means, style, color=CONTROL, marker=".", label=name)
    whole, small = sum(tickets[0].prunable.values()), {}
    for (control, widths), group in groups.items():
        if control == "none" and widths:
            small[sum(group[0].prunable.values()) / whole] = 100 * np.mean(
                [r.accuracy("test")[0] for r in group]
            )
    ax.plot(*zip(*sorted(small.items()), strict=True), "-s", color=CONTROL, markersize=4, label="small dense")
    ax.set_title(f"{tickets[0].config.data.images:,} images, {tickets[0].config.train.augment}", fontsize=10)
    ax.legend(loc="best", fontsize=8)
    return ax


def loss_by_epoch(records: list[Record], ax: Axes | None = None) -> Axes:
    """Training loss of each epoch, mean over seeds: dense in grey, later rounds in deepening blue."""
    stats.same_data(records)
    ax = ax or plt.gca()
    last, epochs = len(records[0].rounds) - 1, records[0].config.train.epochs
    shown = sorted({*np.linspace(0, last, min(last + 1, 6)).round().astype(int)})
    for index in shown:
        losses = np.mean([record.rounds[index]["curve"]["loss"] for record in records], 0)
        done = np.arange(epochs - len(losses), epochs) + 1
        colour = DENSE if index == 0 else plt.get_cmap("Blues")(0.35 + 0.6 * index / last)
        name = "dense" if index == 0 else f"round {index}"
        ax.plot(done, losses, color=colour, label=f"{name} ({100 * records[0].density[index]:.3g} %)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel="training loss (cross entropy)", ylim=(0, None))
    ax.legend()
    return ax


def density_by_layer(
    records: list[Record], measures: list[dict] | None = None, index: int = -1, ax: Axes | None = None
) -> Axes:
    """Density (%) of each convolution in a round, in the order of the network: mean and every seed.

    With measures also what masks by magnitude of the initial and of the rewind weights keep.
    """
    ax = ax or plt.gca()
    layers, places = list(records[0].prunable), np.arange(len(records[0].prunable))
    sizes = np.array(list(records[0].prunable.values()))
    values = 100 * np.array([record.rounds[index]["kept"] for record in records]) / sizes
    ax.bar(places, values.mean(0), color=TICKET, alpha=0.6, label="ticket")
    ax.plot(places, values.T, "_", color=TICKET, markersize=8)
    for null, marker in (("init", "o"), ("rewind", "x")) if measures else ():
        counts = np.array([each["null"][null][index] for each in measures])
        ax.plot(places, 100 * (counts / sizes).mean(0), marker, color=CONTROL, label=f"by {null} weights")
    ax.axhline(100 * records[0].density[index], color=DENSE, linewidth=1, label="whole network")
    names = [
        name.removesuffix(".weight").replace("shortcut.0", "shortcut").removesuffix(".0") for name in layers
    ]
    ax.set_xticks(places, names, rotation=60, ha="right", fontsize=8)
    ax.set_ylabel("density (%)")
    if measures:
        ax.set_yscale("log")
    ax.legend(fontsize=8)
    return ax


def density_by_part(records: list[Record], ax: Axes | None = None) -> Axes:
    """Density (%) of the stem, of the shortcuts and of each stage's 3x3 convolutions, against that of all."""
    ax = ax or plt.gca()
    parts, density = profiles.part_densities(records), records[0].density
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(parts)))
    for (part, values), shade in zip(parts.items(), shades, strict=True):
        ax.plot(density, [100 * value for value in values], "-o", color=shade, markersize=4, label=part)
    ax.plot(density, [100 * each for each in density], color=DENSE, linewidth=1, label="whole network")
    _density_axis(ax, density)
    ax.set(yscale="log", ylabel="density of the part (%, log)")
    ax.legend(fontsize=8)
    return ax


def shared_over_chance(shares: dict[str, list[float]], ax: Axes | None = None) -> Axes:
    """Survivors that two masks share, over what chance would share: mean, interval, every seed."""
    ax = ax or plt.gca()
    for place, (name, values) in enumerate(shares.items()):
        _spread(ax, place, values, CONTROL if "weights" in name else TICKET)
    ax.axhline(1, color=DENSE, linewidth=1)
    ax.set_xticks(range(len(shares)), list(shares), rotation=40, ha="right", fontsize=8)
    ax.set_ylabel("shared survivors / chance")
    return ax


def provenance(records: list[Record]) -> str:
    """Which records the numbers of a page come from, and who made them."""
    lines = [f"{record.config.key}  {record.config.slug}" for record in records]
    made, rows = [record.made for record in records], [row for record in records for row in record.rounds]
    devices = sorted({f"{m['device']}, {m['precision']}, torch {m['versions']['torch']}" for m in made})
    dates = sorted({each["date"] for each in made})
    spent = {name: sum(row["seconds"][name] for row in rows) for name in ("train", "evaluate")}
    rest = sum(each["seconds"] for each in made) - sum(spent.values())
    lines += [
        f"made on {'; '.join(devices)}; {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}",
        f"time: train {spent['train']:.0f} s, evaluation {spent['evaluate']:.0f} s, images {rest:.0f} s",
        *sorted({f"data: {record.data['name']}, SHA-256 {record.data['sha256']}" for record in records}),
    ]
    return "\n".join(lines)
