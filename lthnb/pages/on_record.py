"""What a page that only reads can show: the scale and the images at which all its runs are on record."""

import dataclasses

from lthnb import experiments
from lthnb.config import ParameterError, bare_name
from lthnb.images.dataset import DatasetInfo
from lthnb.images.sources import ROLES, open_source
from lthnb.lines import Experiment
from lthnb.pages.parameters import Parameters
from lthnb.runs import record
from lthnb.runs.record import MissingRun, Record


def on_record(name: str, lines: list[Experiment], page: Parameters) -> tuple[str, dict[str, DatasetInfo]]:
    """The first scale at which all runs of some lines are on record, and the images that serve each role.

    Raises:
        MissingRun: some runs were never made.
    """
    made = record.load_all(page.runs)
    keys = {finished.config.key for finished in made}
    infos = data_sets(made)
    if page.dataset != "auto":
        infos = [open_source(page.dataset, page.data_root).info]
    for profile in ["paper", "demo"] if page.profile == "auto" else [page.profile]:
        by_role = {}
        for line in lines:
            if line.seeds(profile):
                by_role.setdefault(line.data, []).append(line)
        serving = {role: first_whole(own, infos, profile, page, keys) for role, own in by_role.items()}
        if serving and all(serving.values()):
            return profile, serving
    raise MissingRun(
        f"{page.dataset} has not all runs of the page {name} on record; pass -p train True to run them"
    )


def first_whole(
    lines: list[Experiment], infos: list[DatasetInfo], profile: str, page: Parameters, keys: set[str]
) -> DatasetInfo | None:
    """The first data set that has all runs of some lines on record, with as many images as they ask for."""
    role = lines[0].data
    if role != "any" and page.dataset == "auto":
        infos = [info for stem in ROLES[role] for info in infos if bare_name(info.name) == stem]
    asked = {line.change["fraction"] for line in lines}
    for info in infos:
        try:
            configs = experiments.seeds_of(lines, {role: info}, profile, page.seeds)
        except ParameterError:  # this set is too small for what is asked
            continue
        fewer = asked - {config.data.images for config in configs}
        if all(fraction <= 1 for fraction in fewer) and keys >= {config.key for config in configs}:
            return info
    return None


def data_sets(records: list[Record]) -> list[DatasetInfo]:
    """The data sets that records were made on, rendered ones last."""
    names = [field.name for field in dataclasses.fields(DatasetInfo)]
    infos = {}
    for finished in records:
        values = {name: finished.data[name] for name in names}
        values["classes"] = tuple(values["classes"])
        infos[finished.data["sha256"]] = DatasetInfo(**values)
    return sorted(infos.values(), key=lambda info: (info.name == "glyphs", info.name))
