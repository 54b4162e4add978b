"""A finished run as a measure sees it: its record, its tickets, its images, and its relatives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lthnb.images.dataset import Source
from lthnb.images.splits import Data
from lthnb.runs.choice import ticket_round
from lthnb.runs.packed import TicketError
from lthnb.runs.record import Record
from lthnb.runs.ticket import Ticket, own_ticket, ticket_path


@dataclass(frozen=True)
class FinishedRun:
    """One run that is on record and whose tickets are at hand."""

    record: Record
    folder: Path  # where its tickets lie
    data: Data | None = None  # its images; relatives have none
    relatives: tuple[FinishedRun, ...] = ()  # other runs that began with the same initial weights
    source: Source | None = None  # what its images were drawn from
    root: str = ""  # the data root, for images of other sources

    def ticket(self, index: int) -> Ticket:
        """The ticket of a round."""
        return own_ticket(ticket_path(self.folder, index))

    @property
    def key(self) -> str:
        """The key of the run."""
        return self.record.config.key

    @property
    def last(self) -> int:
        """The paper's round, at which tickets are compared."""
        return ticket_round(self.record)

    def has_tickets(self) -> bool:
        """Whether every ticket that a measure may read is there; one that is damaged is named."""
        for row in self.record.rounds:
            try:
                self.ticket(row["round"])
            except TicketError as error:
                if ticket_path(self.folder, row["round"]).exists():
                    print(f"NOTE {error}")
                return False
        return True
