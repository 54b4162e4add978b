"""Shipped tickets, evaluated again: what a file holds is what its record says."""

from dataclasses import dataclass
from pathlib import Path

from lthnb.config import DataMissing, UserError
from lthnb.images.sources import by_record, open_source
from lthnb.images.splits import load
from lthnb.runs import machine, record
from lthnb.runs.machine import Settings
from lthnb.runs.packed import TicketError
from lthnb.runs.record import Record
from lthnb.runs.ticket import Ticket
from lthnb.training.loop import correct
from lthnb.training.masks import survivors

ALLOWED = 0.0005  # of the test images, on another device or another version of torch


@dataclass(frozen=True)
class Result:
    """Whether a ticket is what its record says, and the sentence that tells so."""

    holds: bool
    line: str


def check(path: Path, settings: Settings) -> Result:
    """Count the test images that a ticket's trained weights classify rightly, and compare with its record.

    On the machine that made it the counts are equal; elsewhere they lie within 0.05 points. Also compared:
    the weights kept in each layer, and the hash of the images.
    """
    try:
        ticket = Ticket.load(path)
        made = record_of(ticket)
        rows = {row["round"]: row for row in made.rounds}
        row = rows.get(ticket.about.get("round"))
        if not row or list(survivors(ticket.masks).values()) != row["kept"]:
            raise TicketError("its masks keep other numbers of weights than the record says")
        source = open_source(by_record(made.data["name"], settings.data_root), settings.data_root)
        if source.info.sha256 != made.data["sha256"]:
            raise TicketError(f"{source.info.name} is not what it was made on, {made.data['name']}")
        machine.set_determinism()
        device = settings.chosen_device
        data = load(source, made.config.data, made.config.seed, device)
    except DataMissing as error:
        return Result(True, f"{path.name}: whole, not evaluated, since {error}")
    except (UserError, OSError) as error:
        return Result(False, f"{path.name}: {error}")
    counted = correct(ticket.model().to(device), data, data.test)
    recorded = row["correct"]["test"]
    here = machine.fingerprint(device, "fp32")
    same_torch = made.made["versions"]["torch"] == here["versions"]["torch"]
    same = same_torch and made.made["device"] == here["device"]
    holds = abs(counted - recorded) <= (0 if same else ALLOWED * len(data.test))
    told = f"{counted:,} of {len(data.test):,} test images right, {recorded:,} on record"
    where = "the same machine" if same else f"made on {made.made['device']}"
    return Result(holds, f"{path.name}: {'holds' if holds else 'DIFFERS'}, {told} ({where})")


def record_of(ticket: Ticket) -> Record:
    """The record of a ticket's run; raise ``TicketError`` if it is not here."""
    key = ticket.about.get("key")
    for folder in record.folders():
        path = folder / f"{key}.json"
        if path.exists():
            return record.read(path)
    raise TicketError(f"the record {key} is not here")
