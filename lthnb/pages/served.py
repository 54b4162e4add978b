"""Which images serve what the plan asks for, where runs are made: those named, else those at hand."""

from dataclasses import dataclass

from lthnb.config import DataMissing
from lthnb.images.dataset import Source
from lthnb.images.sources import serving
from lthnb.pages.parameters import Parameters
from lthnb.runs.sweep import remembered_source


@dataclass(frozen=True)
class Served:
    """A data set that is open, and how every worker opens it: what ``auto`` means is decided once."""

    source: Source
    dataset: str


def serve(role: str, page: Parameters) -> Served:
    """Open the images of a role; where any will do and CIFAR-10 cannot be had, rendered digits, and say so.

    Raises:
        DataMissing: the set is not there, and its name, the plan or ``profile paper`` allows no other.
    """
    dataset = serving(role, page.dataset, page.data_root)
    try:
        source = remembered_source(dataset, page.data_root)
    except DataMissing as error:
        if role != "any" or dataset != "auto" or page.profile == "paper":
            choose = "another set is chosen by -p dataset NAME on a page, by --dataset NAME in a sweep"
            raise DataMissing(f"{error}; {choose}") from error
        print(f"NOTE data set glyphs: rendered digits, since {error}")
        source = remembered_source("glyphs", page.data_root)
    if source.note:
        print(f"NOTE data set {source.info.name}: {source.note}")
    return Served(source, source.info.name if dataset == "auto" else dataset)
