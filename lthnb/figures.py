"""Every plot, one function per kind, from records alone. Dense is grey, tickets are blue, controls orange."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lthnb import stats
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


def density_by_layer(records: list[Record], ax: Axes | None = None) -> Axes:
    """Density (%) of each convolution in the last round, in the order of the network: mean and every seed."""
    ax = ax or plt.gca()
    layers = list(records[0].prunable)
    kept = [
        [kept / record.prunable[name] for name, kept in zip(layers, record.rounds[-1]["kept"], strict=True)]
        for record in records
    ]
    values, places = 100 * np.array(kept), np.arange(len(layers))
    ax.bar(places, values.mean(0), color=TICKET, alpha=0.6)
    ax.plot(places, values.T, "_", color=TICKET, markersize=8)
    ax.axhline(100 * records[0].density[-1], color=CONTROL, linewidth=1, label="whole network")
    names = [
        name.removesuffix(".weight").replace("shortcut.0", "shortcut").removesuffix(".0") for name in layers
    ]
    ax.set_xticks(places, names, rotation=60, ha="right", fontsize=8)
    ax.set_ylabel("density in the last round (%)")
    ax.legend()
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
        f"data: {records[0].data['name']}, SHA-256 {records[0].data['sha256']}",
    ]
    return "\n".join(lines)
