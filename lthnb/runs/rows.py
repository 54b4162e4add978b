"""What the numbers of a record may be; any other is refused by its field and value."""

import re
from typing import Any

from lthnb.config import RunConfig
from lthnb.rules import TRUTH, ParameterError, Rule, whole

SPLITS = ("train", "val", "test")
OBJECT = Rule(dict, "an object")
LIST = Rule(list, "a list")
WORDS = Rule(str, "text")
COUNT = whole(0, 10**12)
AMOUNT = Rule(float, "a finite number from 0 on", lambda value: value >= 0)
DAY = Rule(str, "a day such as 2026-11-21", re.compile(r"\d{4}-[01]\d-[0-3]\d").fullmatch)
MADE = {"device": WORDS, "precision": WORDS, "versions": OBJECT, "date": DAY, "seconds": AMOUNT}
DATA = {
    "name": WORDS,
    "sha256": WORDS,
    "classes": LIST,
    "channels": COUNT,
    "side": COUNT,
    "pool": COUNT,
    "few": TRUTH,
    "counts": OBJECT,
}


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


def match_some(where: str, value: Any, form: dict[str, Any]) -> None:
    """Raise ``ParameterError`` unless a value is an object that has at least the fields of a form."""
    OBJECT.check(where, value)
    match(where, {name: value.get(name) for name in form}, form)


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
    with_noise = ("wrong",) if config.data.label_noise else ()  # training images with wrong labels
    totals = dict.fromkeys(SPLITS + with_noise, COUNT)
    most = sum(sizes.values())
    for position, (index, row) in enumerate(zip(rounds, rows, strict=True)):
        where = f"rounds[{position}]"
        kept = [whole(0, size) for size in sizes.values()]
        check_row(where, config, {"round": whole(index, index), "kept": kept, "total": totals}, row)
        totals = {split: whole(total, total) for split, total in row["total"].items()}
        left = sum(row["kept"])
        whole(0, most).check(f"the sum of {where}.kept", left)
        drops = (
            config.prune.control != "rewound" and round(config.prune.rate * left) > 0
        )  # at a tiny rate none
        most = left - drops
    one = Rule(int, f"one of the rounds {[*rounds]}", lambda index: index in rounds)
    match_some("chosen", chosen, {"test": one})
    if chosen["val"] is not None:
        match_some("chosen.val", chosen["val"], {"round": one})


def check_row(where: str, config: RunConfig, given: dict[str, Any], row: dict[str, Any]) -> None:
    """Raise ``ParameterError`` unless one row can be that of a run; ``given``: its first forms."""
    form = {
        **given,
        "correct": OBJECT,
        "loss": AMOUNT,
        "seconds": {"train": AMOUNT, "evaluate": AMOUNT},
        "curve": {"loss": LIST, "correct": LIST},
    }
    match(where, row, form)
    counts = {split: whole(0, total) for split, total in row["total"].items()}
    match(f"{where}.correct", row["correct"], counts)
    losses = row["curve"]["loss"]
    longest = config.train.epochs + config.prune.rewind_epoch  # as released, later rounds train so long
    epochs = whole(1, longest)
    epochs.check(f"the length of {where}.curve.loss", len(losses))
    match(f"{where}.curve.loss", losses, [AMOUNT] * len(losses))
    known = {"epochs": epochs} | counts
    for evaluated in row["curve"]["correct"]:
        OBJECT.check(f"{where}.curve.correct", evaluated)
        match(f"{where}.curve.correct", evaluated, {name: known[name] for name in known if name in evaluated})
    ends = {"loss": (row["loss"], losses[-1])}
    for last in row["curve"]["correct"][-1:]:
        for split in ("train", "test"):  # val of a refit is that of the run which chose its round
            ends[f"correct.{split}"] = (row["correct"][split], last.get(split))
    for name, (value, end) in ends.items():
        if value != end:
            raise ParameterError(f"{where}.{name} must be {end}, as at the end of its curve, got {value}")
