"""At which rates and for how long runs train: as published, or as val of other seeds chose."""

from functools import cache
from typing import Any

from lthnb.config import PROFILES, RunConfig

RATES = ("lr", "batch_size", "weight_decay")
# By the rule of book/registered.md; a test makes the choice again from the records. That of the
# paper's network is provisional: one of its four settings is on record.
CHOSEN: dict[str, dict[str, float]] = {
    "demo": {"lr": 0.003, "batch_size": 25, "weight_decay": 5e-3},
    "wide": {"lr": 0.01, "batch_size": 100, "weight_decay": 5e-4},
}
CHOSEN["smoke"] = CHOSEN["demo"]
CHOSEN["paper"] = CHOSEN["wide"]
TUNED = {"tuned": True}  # changes of a schedule, for ``scheduled``
STRONG = {"tuned": True, "times": 4}
LAST = {"paper": 15}  # the round of the paper's last ticket, where a profile has more


def scheduled(profile: str, change: dict[str, Any]) -> dict[str, Any]:
    """Fields of a run in place of what a change says of its schedule.

    ``tuned``: at the rates that were chosen on val. ``times``: trained so many times as long; a control then
    takes the place of the last ticket alone, which was found in the usual epochs.
    """
    values = dict(change)
    if values.pop("tuned", False):
        values |= CHOSEN[profile]
    if "times" in values:
        epochs = values.get("epochs", usual(profile).train.epochs)
        values["epochs"] = round(values.pop("times") * epochs)
        if "control" in values:
            values["found_epochs"] = epochs
            values["every"] = LAST.get(profile, usual(profile).prune.rounds)
    return values


@cache
def usual(profile: str) -> RunConfig:
    """The run that a profile describes."""
    return RunConfig.of(profile)


def usual_profile(config: RunConfig) -> str:
    """The profile that has a run's network; demo for networks that none has."""
    width = config.network.width
    return next((name for name in PROFILES if usual(name).network.width == width), "demo")


def rates(config: RunConfig) -> str:
    """``published``, ``tuned``, or ``other``; that too where a ticket was found at another learning rate."""
    profile = usual_profile(config)
    own, published = ({rate: run.field(rate) for rate in RATES} for run in (config, usual(profile)))
    if config.finding.lr != config.train.lr:
        return "other"
    if own == published:
        return "published"
    return "tuned" if own == CHOSEN[profile] else "other"


def times(config: RunConfig) -> float:
    """Epochs of a run's training over those that are usual for its network."""
    return config.train.epochs / usual(usual_profile(config)).train.epochs
