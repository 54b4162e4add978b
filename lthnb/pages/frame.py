"""All numbers of some runs as one tidy table: a row per run, round and split."""

from collections.abc import Iterable, Iterator
from math import ceil, nan
from typing import Any

import pandas as pd

from lthnb import schedules
from lthnb.config import RunConfig, bare_name
from lthnb.runs.choice import ticket_round, val_round
from lthnb.runs.record import Record

CONFIGURED = tuple(  # fields that become columns of their own name
    "images label_noise seed model width widths control rounds rate rewind "
    "epochs batch_size lr weight_decay cycles augment cutout objective".split()
)
FLAGS = ("dense", "ticket", "chosen", "best")
COUNTED = ("split", "correct", "total", "accuracy", "peak")
ABOUT = ("key", "data", "name", "sha256", "side", "steps", "rates", "times", "precision", "seconds")
COLUMNS = (*ABOUT, *CONFIGURED, "round", "arm", "density", "kept", *FLAGS, *COUNTED)
CONTROL_ARMS = {
    "random": "random masks",
    "shuffled": "shuffled in layers",
    "reinit": "reinitialised",
    "retrained": "ticket",
    "rewound": "rewound dense",
}


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row per run, round and split, in the order of the records.

    Splits are train, val, test and, where labels are noise, wrong: the training images with wrong labels.

    Beside the fields of the configuration:
        data, name, sha256, side: the images: full name, name without ``folder:`` and hash, pixels.
        steps: SGD steps of the dense training.
        rates, times: published, tuned or other; epochs over the usual ones of the network.
        precision, seconds: how the run was made, and how long it took with all its rounds.
        arm: dense (round 0), ticket (later rounds), small dense, or the name of a control.
        density, kept: convolution weights of the round, as a fraction and as a number.
        dense, ticket, chosen, best: round 0; the paper's own for the size; val's; the best one on test.
        correct, total, accuracy: after the last epoch; a fraction, nan where the split is empty.
        peak: the best accuracy over the epochs that were evaluated, nan if none was.
    """
    rows = [row for record in records for row in rows_of(record)]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(FLAGS, bool))


def rows_of(record: Record) -> Iterator[dict[str, Any]]:
    """The rows of one run, by column."""
    run = run_fields(record)
    ticket = ticket_round(record)
    chosen = val_round(record)
    for row, density in zip(record.rounds, record.density, strict=True):
        index = row["round"]
        of_round = {
            "round": index,
            "arm": arm(record.config, index),
            "density": density,
            "kept": sum(row["kept"]),
            "dense": index == 0,
            "ticket": 0 < index == ticket,
            "chosen": 0 < index == chosen,
            "best": index == record.chosen["test"],
        }
        for split in row["total"]:
            yield run | of_round | counts(row, split)


def run_fields(record: Record) -> dict[str, Any]:
    """What is the same in all rows of a run."""
    config = record.config
    batches = ceil(config.data.images / config.train.batch_size)
    about = {
        "key": config.key,
        "data": config.data.name,
        "name": bare_name(config.data.name),
        "sha256": record.data["sha256"],
        "side": config.data.side or record.data["side"],
        "steps": config.train.epochs * batches,
        "rates": schedules.rates(config),
        "times": schedules.times(config),
        "precision": record.made["precision"],
        "seconds": record.made["seconds"],
    }
    return about | {name: config.field(name) for name in CONFIGURED}


def counts(row: dict[str, Any], split: str) -> dict[str, Any]:
    """What was counted on one split in one round."""
    total = row["total"][split]
    correct = row["correct"][split]
    evaluated = [point[split] for point in row["curve"]["correct"] if split in point]
    images = total or nan  # no accuracy on a split without images
    return {
        "split": split,
        "correct": correct,
        "total": total,
        "accuracy": correct / images,
        "peak": max(evaluated, default=nan) / images,
    }


def arm(config: RunConfig, index: int) -> str:
    """What a round of a run is called in figures and tables."""
    usual = "ticket" if index else "dense"
    return CONTROL_ARMS.get(config.prune.control, "small dense" if config.network.widths else usual)


def pick(data: pd.DataFrame, /, **fields: object) -> pd.DataFrame:
    """The rows that have these values: ``pick(data, images=500, split="test")``."""
    for name, value in fields.items():
        data = data[data[name] == value]
    return data


def at(data: pd.DataFrame, which: str, split: str = "test") -> pd.DataFrame:
    """One row per run that has it, by seed: the row of the flag dense, ticket, chosen or best."""
    return pick(data, **{which: True}, split=split).sort_values("seed", kind="stable")


def apart(data: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of a page's own runs, and of the strong dense networks beside them, which train longer."""
    strong = (data["rounds"] == 0) & (data["epochs"] > data["epochs"].iloc[0])
    return data[~strong], data[strong]


def behind(data: pd.DataFrame, records: list[Record]) -> list[Record]:
    """The records that some rows were made of."""
    keys = set(data["key"])
    return [record for record in records if record.config.key in keys]


def same_data(data: pd.DataFrame) -> None:
    """Raise ``ValueError`` unless all runs were made on the same images and at the same image side."""
    sets = data.groupby(["sha256", "side"]).ngroups
    if sets > 1:
        raise ValueError(f"records of {sets} different data sets do not belong in one curve")


def by_role(data: pd.DataFrame, roles: dict[str, str]) -> tuple[pd.DataFrame, ...]:
    """The runs on CIFAR-10's original pixels, those on the whole set, and the smoke runs among them.

    Where no whole set is wanted, the runs on the original pixels take its place.
    """
    full = data["model"] == data["model"].iloc[0]
    exact = roles["original_pixels"]
    original = pick(data[full], data=exact)
    whole = pick(data[full], data=roles.get("whole_set", exact))
    return original, whole, data[~full]
