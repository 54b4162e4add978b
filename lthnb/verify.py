"""Shipped tickets, evaluated again: what a file holds is what its record says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lthnb import record, stats, tickets
from lthnb.config import DataMissing, UserError
from lthnb.costs import settle
from lthnb.data import load
from lthnb.experiments import chosen_device
from lthnb.masks import kept
from lthnb.sets import known, open_source
from lthnb.train import correct

ALLOWED = 0.0005  # of the test images, on another device or another version of torch


@dataclass(frozen=True)
class Result:
    """Whether a ticket is what its record says, and the sentence that tells so."""

    holds: bool
    line: str


def check(path: Path, root: str = "", device: str = "auto") -> Result:
    """Count the test images that a ticket's trained weights classify rightly, and compare with its record.

    On the machine that made it the counts are equal; elsewhere they lie within 0.05 points. Also compared:
    the weights kept in each layer, and the hash of the images.
    """
    try:
        ticket = tickets.load(path)
        places = [folder / f"{ticket.about['key']}.json" for folder in record.folders()]
        made = next((record.read(place) for place in places if place.exists()), None)
        row = (
            next((row for row in made.rounds if row["round"] == ticket.about["round"]), None)
            if made
            else None
        )
        if row is None:
            return Result(False, f"{path.name}: the record {ticket.about['key']} is not here")
        if list(kept(ticket.masks).values()) != row["kept"]:
            return Result(False, f"{path.name}: its masks keep other numbers of weights than the record says")
        settle()
        device = chosen_device(device)
        source = open_source(known(made.data["name"], root), root)
        if source.facts.sha256 != made.data["sha256"]:
            return Result(
                False, f"{path.name}: {source.facts.name} is not what it was made on, {made.data['name']}"
            )
        data = load(source, made.config.data, made.config.seed, device)
    except DataMissing as error:
        return Result(True, f"{path.name}: whole, not evaluated, since {error}")
    except (UserError, OSError) as error:
        return Result(False, f"{path.name}: {error}")
    found = correct(ticket.model().to(device), data, data.test)
    said = round(stats.accuracy_at(made, ticket.about["round"]) * len(data.test))
    here = record.fingerprint(device, "fp32")
    same = made.made["device"] == here["device"]
    same = same and made.made["versions"]["torch"] == here["versions"]["torch"]
    holds = abs(found - said) <= (0 if same else ALLOWED * len(data.test))
    told = f"{found:,} of {len(data.test):,} test images right, {said:,} on record"
    where = "the same machine" if same else f"made on {made.made['device']}"
    return Result(holds, f"{path.name}: {'holds' if holds else 'DIFFERS'}, {told} ({where})")
