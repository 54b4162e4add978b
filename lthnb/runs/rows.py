"""What the numbers of a record may be; any other is refused by its field and value."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from lthnb.config import RunConfig
from lthnb.rules import Rule, whole

SPLITS = ("train", "val", "test")
OBJECT = Rule(dict, "an object")
LIST = Rule(list, "a list")
COUNT = whole(0, 10**12)
AMOUNT = Rule(float, "a finite number from 0 on", lambda value: value >= 0)
SECONDS = {"train": AMOUNT, "evaluate": AMOUNT}
CURVE = {"loss": LIST, "correct": LIST}
DATA = {
    "name": str,
    "sha256": str,
    "classes": list,
    "channels": int,
    "side": int,
    "pool": int,
    "counts": dict,
}
MADE = {"device": str, "precision": str, "versions": dict, "date": str}


def described(where: str, value: Any, kinds: dict[str, type]) -> None:
    """Raise ``ParameterError`` unless a value is an object with at least these fields, of these types."""
    OBJECT.check(where, value)
    for name, kind in kinds.items():
        Rule(kind, f"of type {kind.__name__}").check(f"{where}.{name}", value.get(name))


def match(where: str, value: Any, form: Any) -> None:
    """Raise ``ParameterError`` unless a value has a form: a rule, or an object or a list of forms."""
    if isinstance(form, Rule):
        form.check(where, value)
    elif isinstance(form, dict):
        fields = Rule(dict, f"an object of {', '.join(form)}", lambda given: given.keys() == form.keys())
        fields.check(where, value)
        for name, inner in form.items():
            match(f"{where}.{name}", value[name], inner)
    else:
        entries = Rule(list, f"a list of {len(form)} entries", lambda given: len(given) == len(form))
        entries.check(where, value)
        for position, inner in enumerate(form):
            match(f"{where}[{position}]", value[position], inner)


def check(
    config: RunConfig, sizes: dict[str, int], rows: list[dict[str, Any]], chosen: dict[str, Any]
) -> None:
    """Raise ``ParameterError`` unless the rows of a record, and the rounds it chose, can be those of its run.

    Args:
        sizes: layer -> weights that may be pruned.
        chosen: rule -> round, as ``choice.choices`` tells it.
    """
    match("prunable", sizes, dict.fromkeys(sizes, COUNT))
    every = config.prune.every
    rounds = range(0 if config.prune.control == "none" else every, config.prune.rounds + 1, every)
    match("rounds", rows, [OBJECT] * len(rounds))
    for position, (index, row) in enumerate(zip(rounds, rows, strict=True)):
        check_row(f"rounds[{position}]", config, index, [*sizes.values()], row)
    for position, (before, row) in enumerate(pairwise(rows), 1):
        where = f"rounds[{position}]"
        match(where + ".total", row["total"], {name: whole(n, n) for name, n in before["total"].items()})
        left = sum(before["kept"])
        most = left - (round(config.prune.rate * left) > 0)  # a rate may be too small to drop a weight
        whole(0, most).check(f"the sum of {where}.kept", sum(row["kept"]))
    one = Rule(int, f"one of the rounds {[*rounds]}", lambda index: index in rounds)
    described("chosen", chosen, {"test": int})
    one.check("chosen.test", chosen["test"])
    if chosen["val"] is not None:
        described("chosen.val", chosen["val"], {"round": int})
        one.check("chosen.val.round", chosen["val"]["round"])


def check_row(where: str, config: RunConfig, index: int, sizes: list[int], row: dict[str, Any]) -> None:
    """Raise ``ParameterError`` unless one row can be that of a round of a run with layers of such sizes."""
    form = {
        "round": whole(index, index),
        "kept": [whole(0, size) for size in sizes],
        "total": dict.fromkeys(SPLITS, COUNT),
        "correct": OBJECT,
        "loss": AMOUNT,
        "seconds": SECONDS,
        "curve": CURVE,
    }
    match(where, row, form)
    counts = {split: whole(0, total) for split, total in row["total"].items()}
    match(f"{where}.correct", row["correct"], counts)
    losses = row["curve"]["loss"]
    longest = config.train.epochs + config.prune.rewind_epoch  # as released, later rounds train so long
    epochs = whole(1, longest)
    epochs.check(f"the length of {where}.curve.loss", len(losses))
    match(f"{where}.curve.loss", losses, [AMOUNT] * len(losses))
    for evaluated in row["curve"]["correct"]:
        OBJECT.check(f"{where}.curve.correct", evaluated)
        known = {"epochs": epochs, **counts}
        match(f"{where}.curve.correct", evaluated, {name: known[name] for name in known if name in evaluated})
