"""Which tickets of a run are kept, with their weights or as masks alone, and what is cleared at its end."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from lthnb.config import RunConfig
from lthnb.runs import record
from lthnb.runs.checkpoint import Checkpoints
from lthnb.runs.choice import SHIFTED_ROUNDS, chosen_on_val, nearest_round, paper_round
from lthnb.runs.files import set_aside
from lthnb.runs.packed import TicketError
from lthnb.runs.record import Record
from lthnb.runs.ticket import own_ticket, ticket_path


def wanted(config: RunConfig, rows: list[dict[str, Any]]) -> set[int | None]:
    """Rounds whose tickets keep their weights.

    The dense one, the paper's, those it tests under shifts, and val's by the rows so far.
    """
    density = [(1 - config.prune.rate) ** index for index in range(config.prune.rounds + 1)]
    shifted = {nearest_round(published, density) for published in SHIFTED_ROUNDS}
    return {0, paper_round(config.data.images, density), chosen_on_val(rows)} | shifted


def put_on_record(made: Record, folder: Path, again: bool) -> None:
    """Write the record of a run, or see that tickets which were made again are those on record.

    Where only a published record differs from them, they get a record of their own.

    Raises:
        TicketError: they are others than those of the record beside the folder; they are removed.
    """
    runs = str(folder.parent)
    if not (again and record.is_on_record(made.config, runs, published=True)):
        record.save(made, runs)
        return
    path = record.locate(made.config, runs, published=True)
    before = record.read(path)
    here, there = ([(row["kept"], row["correct"]) for row in one.rounds] for one in (made, before))
    if here == there:
        return
    where = [f"{one.made['precision']} on {one.made['device']}" for one in (made, before)]
    differ = f"made again in {where[0]}, {path.name} has other tickets than those on record, {where[1]}"
    if path.parent != folder.parent:
        print(f"NOTE {differ}; what was made here has a record of its own")
        record.save(made, runs)
        return
    for row in made.rounds:
        ticket_path(folder, row["round"]).unlink(missing_ok=True)
    raise TicketError(f"{differ}; make them there, or remove {path.name} to make all of it anew")


def tidy(folder: Path, config: RunConfig, rows: list[dict[str, Any]]) -> None:
    """Remove what a finished run needs no more: checkpoints, and weights that looked best for a while."""
    Checkpoints(folder, config.key, {}).clear()
    for row in rows:
        path = ticket_path(folder, row["round"])
        try:
            ticket = own_ticket(path)
        except TicketError as error:
            if os.path.lexists(path):
                set_aside(path, error)
            continue
        if ticket.states and row["round"] not in wanted(config, rows):
            dataclasses.replace(ticket, states={}).save(path)


def lost(folder: Path, config: RunConfig, rows: list[dict[str, Any]]) -> list[int]:
    """Rounds of a finished run whose tickets are not there."""
    rounds = {row["round"] for row in rows}
    if config.prune.control != "none":  # its other masks can be drawn again
        rounds &= wanted(config, rows)
    return sorted(index for index in rounds if not ticket_path(folder, index).exists())
