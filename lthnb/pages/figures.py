"""Every plot, one function per kind, from records alone. Dense is grey, tickets are blue, controls orange."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lthnb.config import AUGMENTATIONS, ROOT
from lthnb.pages import inside, stats
from lthnb.pages.frame import at, pick, same_data
from lthnb.runs.record import Record

DENSE = "#6b6b6b"
TICKET = "#1f6fb4"
CONTROL = "#e07b00"
LEVEL = {
    "color": DENSE,
    "linewidth": 1,
}
STRONG = {
    "color": "black",
    "linewidth": 1.5,
    "linestyle": "--",
}
ONE_SEED = {
    "color": TICKET,
    "linewidth": 0.6,
    "alpha": 0.5,
}
SPLIT_LINES = {"test": "-", "val": "--", "train": ":"}
CONTROL_LINES = ("--", ":", "-.")


def use_style() -> None:
    """Set matplotlib's defaults for all pages: readable at column width, in print and on a phone."""
    plt.style.use(ROOT / "book" / "figures.mplstyle")


def panels(*widths: float) -> list[Axes]:
    """Axes side by side, as wide as ``widths`` say."""
    _, axes = plt.subplots(1, len(widths), figsize=(8, 3.6), width_ratios=widths)
    return list(axes)


def density_axis(ax: Axes, density: list[float]) -> None:
    """Densities in percent on a log axis; pruning goes on to the right."""
    shown = density if len(density) < 7 else density[::3]
    ax.set_xscale("log")
    ax.set_xlim(max(density) * 1.15, min(density) / 1.15)
    ax.set_xticks(shown, [f"{100 * value:.3g}" for value in shown])
    ax.minorticks_off()
    ax.set_xlabel("density (% of weights kept, log)")


def by_density(data: pd.DataFrame, split: str) -> pd.DataFrame:
    """Accuracy (%) on a split: a row per density, falling, and a column per run."""
    table = pick(data, split=split).pivot_table(index="density", columns="key", values="accuracy")
    return 100 * table.sort_index(ascending=False)


def accuracy_by_density(
    data: pd.DataFrame,
    splits: tuple[str, ...] = ("test", "val"),
    ax: Axes | None = None,
    strong: pd.DataFrame | None = None,
) -> Axes:
    """Accuracy (%) of the last epoch against density: mean over seeds, 95 % band on the first split.

    Single seeds are thin lines. The grey point and line are the dense network, the dashed line is the
    strong one, where its rows are given.
    """
    same_data(data)
    ax = ax or plt.gca()
    for split in splits:
        runs = by_density(data, split)
        if runs.empty:  # a set too small for val
            continue
        mean = runs.mean(axis=1)
        ax.plot(mean, SPLIT_LINES[split], color=TICKET, label=f"ticket, {split}")
        if split == splits[0]:
            spread = [stats.interval(values) for values in runs.to_numpy()]
            low = [interval.low for interval in spread]
            high = [interval.high for interval in spread]
            ax.plot(runs, **ONE_SEED)
            ax.fill_between(runs.index, low, high, color=TICKET, alpha=0.15)
            ax.axhline(mean.iloc[0], **LEVEL)
            ax.plot(mean[:1], "o", color=DENSE, label=f"dense, {split}")
    if strong is not None and len(strong):
        level = 100 * at(strong, "dense", splits[0])["accuracy"].mean()
        ax.axhline(level, **STRONG, label=f"strong dense, {splits[0]}")
    density_axis(ax, list(mean.index))
    ax.set_ylabel("accuracy (%)")
    ax.legend()
    return ax


def spread_at(ax: Axes, position: float, values: stats.Values, colour: str, label: str = "") -> None:
    """A mean with its 95 % interval, and every seed as a small point."""
    interval = stats.interval(values)
    half = None if np.isnan(interval.low) else interval.high - interval.mean
    ax.plot([position] * len(values), values, ".", color=colour, markersize=4, alpha=0.5)
    ax.errorbar(position, interval.mean, half, fmt="o", color=colour, capsize=3, markersize=6, label=label)


def dense_and_ticket(data: pd.DataFrame, strong: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Test accuracy (%) of dense networks and tickets at the paper's round, and of strong dense ones."""
    same_data(data)
    ax = ax or plt.gca()
    names = [name for name in AUGMENTATIONS if name in set(data["augment"])]
    for position, name in enumerate(names):
        runs = pick(data, augment=name)
        dense = 100 * at(runs, "dense")["accuracy"]
        ticket = 100 * at(runs, "ticket")["accuracy"]
        left, right = position - 0.12, position + 0.12
        ax.plot([left, right], [dense, ticket], **ONE_SEED)
        spread_at(ax, left, dense, DENSE, "" if position else "dense")
        spread_at(ax, right, ticket, TICKET, "" if position else "ticket")
        level = 100 * at(pick(strong, augment=name), "dense")["accuracy"].mean()
        ax.hlines(level, position - 0.3, position + 0.3, **STRONG, label="" if position else "strong dense")
    ax.set_xticks(range(len(names)), [name.replace("+", "\n+ ") for name in names])
    ax.set_xlabel(f"augmentation ({data['images'].iloc[0]:,} images)")
    ax.set_ylabel("test accuracy (%)")
    ax.legend()
    return ax


def accuracy_by_size(data: pd.DataFrame, ax: Axes | None = None, which: str = "ticket") -> Axes:
    """Test accuracy (%) against training images (log) and SGD steps: dense grey, ticket of a rule blue."""
    same_data(data)
    ax = ax or plt.gca()
    for augment, group in data.groupby("augment"):
        style = "-o" if augment == "base" else "--s" if augment.startswith("rand") else ":^"
        for name, colour, flag in (("dense", DENSE, "dense"), ("ticket", TICKET, which)):
            means = 100 * at(group, flag).groupby("images")["accuracy"].mean()
            ax.plot(means, style, color=colour, markersize=5, label=f"{name}, {augment}")
    steps = data.groupby("images")["steps"].first()
    ax.set_xscale("log")
    ax.set_xticks(steps.index, [f"{images:,}\n{number:,}" for images, number in steps.items()])
    ax.minorticks_off()
    ax.set(xlabel="training images (log), below them SGD steps", ylabel="test accuracy (%)")
    ax.legend()
    return ax


def controls_by_density(data: pd.DataFrame, strong: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Test accuracy (%) against density: ticket blue with 95 % band, controls orange, the dense level grey.

    A small dense network stands at the density of a ticket with as many convolution weights.
    """
    same_data(data)
    ax = ax or plt.gca()
    tickets = data[data["arm"].isin(["dense", "ticket"])]
    accuracy_by_density(tickets, ("test",), ax, strong)
    for name, style in zip(stats.CONTROLS, CONTROL_LINES, strict=True):
        means = by_density(pick(data, arm=name), "test").mean(axis=1)
        ax.plot(means, style, color=CONTROL, marker=".", label=name)
    small = at(pick(data, arm="small dense"), "dense")
    full = at(tickets, "dense")["kept"].iloc[0]
    means = 100 * small.groupby(small["kept"] / full)["accuracy"].mean()
    ax.plot(means, "-s", color=CONTROL, markersize=4, label="small dense")
    ax.set_title(f"{data['images'].iloc[0]:,} images, {data['augment'].iloc[0]}", fontsize=10)
    ax.legend(fontsize=8)
    return ax


def loss_by_epoch(records: list[Record], ax: Axes | None = None) -> Axes:
    """Training loss of each epoch, mean over seeds: dense in grey, later rounds in deepening blue."""
    ax = ax or plt.gca()
    epochs = records[0].config.train.epochs
    density = records[0].density
    last = len(density) - 1
    shown = np.linspace(0, last, min(last + 1, 6)).round().astype(int)
    for index in shown:
        losses = np.mean([record.rounds[index]["curve"]["loss"] for record in records], axis=0)
        done = np.arange(epochs - len(losses), epochs) + 1
        colour = plt.get_cmap("Blues")(0.35 + 0.6 * index / last) if index else DENSE
        name = f"round {index}" if index else "dense"
        ax.plot(done, losses, color=colour, label=f"{name} ({100 * density[index]:.3g} %)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    ax.legend()
    return ax


def density_by_layer(
    records: list[Record],
    measures: inside.Measures | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Density (%) of each convolution in the last round, in the order of the network: mean and every seed.

    With measures, in the round that they are of, also what masks by magnitude of the initial and of the
    rewind weights keep.
    """
    ax = ax or plt.gca()
    measured = [measures[record.config.key] for record in records] if measures else []
    index = measured[0]["round"] if measures else -1
    sizes = inside.layer_sizes(records[0])
    density = 100 * np.array([inside.densities(record)[index] for record in records])
    ax.bar(range(len(sizes)), density.mean(0), color=TICKET, alpha=0.6, label="ticket")
    ax.plot(density.T, "_", color=TICKET, markersize=8)
    if measures:
        ax.set_yscale("log")
        for weights, marker in (("init", "o"), ("rewind", "x")):
            kept = np.mean([values["null"][weights][index] for values in measured], axis=0)
            ax.plot(100 * kept / sizes, marker, color=CONTROL, label=f"by {weights} weights")
    ax.axhline(100 * records[0].density[index], **LEVEL, label="whole network")
    layers = [layer.removesuffix(".weight").removesuffix(".0") for layer in records[0].prunable]
    ax.set_xticks(range(len(sizes)), layers, rotation=60, ha="right", fontsize=8)
    ax.set_ylabel("density (%)")
    ax.legend(fontsize=8)
    return ax


def density_by_part(records: list[Record], ax: Axes | None = None) -> Axes:
    """Density (%) of the stem, of the shortcuts and of each stage's 3x3 convolutions, against that of all."""
    ax = ax or plt.gca()
    parts = 100 * inside.part_densities(records)
    density = records[0].density
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.9, parts.shape[1]))
    ax.set_prop_cycle(color=shades)
    ax.plot(density, parts, "-o", markersize=4, label=parts.columns)
    ax.plot(density, 100 * np.array(density), **LEVEL, label="whole network")
    density_axis(ax, density)
    ax.set(yscale="log", ylabel="density of the part (%, log)")
    ax.legend(fontsize=8)
    return ax


def shared_over_chance(shares: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Survivors that two masks share, over what chance would share: mean, interval, every seed."""
    ax = ax or plt.gca()
    names = shares["masks"].unique()
    for position, name in enumerate(names):
        ratios = pick(shares, masks=name)["ratio"]
        spread_at(ax, position, ratios, CONTROL if "weights" in name else TICKET)
    ax.axhline(1, **LEVEL)
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    ax.set_ylabel("shared survivors / chance")
    return ax
