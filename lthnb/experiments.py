"""The runs behind each finding, and the one rule for all: load what is on record, train what is missing."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch

from lthnb import layers, measures, stats
from lthnb.config import ParameterError, RunConfig
from lthnb.costs import epochs, estimate
from lthnb.data import load as load_data
from lthnb.folders import DataError, Facts, Source
from lthnb.parameters import Progress, clock, overrides
from lthnb.plans import PAPERS_OWN, PLAN, Cell, resolve
from lthnb.record import MissingRun, Record, folders, load_all
from lthnb.record import load as load_record
from lthnb.running import device_errors, run, ticket_path
from lthnb.sets import ROLES, bare, open_source, place


@dataclass(frozen=True)
class Study:
    """The runs of a page, and what it takes to make those that are missing."""

    configs: tuple[RunConfig, ...]
    profile: str
    facts: dict[str, Facts]  # of each data set, by name
    sources: dict[str, Source]  # its images, by name; none where records are read
    page: SimpleNamespace
    device: str = "cpu"
    roles: dict[str, str] = field(default_factory=dict)  # what the plan calls a data set -> its name

    @property
    def precision(self) -> str:
        """``bf16`` where the device computes in it, unless the page says otherwise."""
        return precision(self.device, getattr(self.page, "precision", "auto"))


def precision(device: str, wanted: str = "auto") -> str:
    """``bf16`` where the device computes in it, unless something else is wanted."""
    capable = torch.cpu.get_capabilities().get("avx512_bf16", False)
    if device == "cuda" and torch.cuda.is_available():
        capable = torch.cuda.is_bf16_supported(including_emulation=False)
    return wanted if wanted != "auto" else "bf16" if capable else "fp32"


def chosen_device(wanted: str) -> str:
    """``cuda`` where there is one, unless something else is wanted; ``ParameterError`` if it is missing."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device must be auto or cpu where torch finds no GPU, got 'cuda'")
    return wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def own(page: SimpleNamespace) -> Cell:
    """The line of the plan that a page's own parameters describe: any images, so many seeds."""
    return Cell("imp", "any", {**overrides(page), "fraction": page.fraction}, *[page.seeds] * 3)


def plan(facts: Facts, page: SimpleNamespace, profile: str) -> tuple[RunConfig, ...]:
    """One configuration per seed of the page ``imp``: the profile's values and the page's own."""
    return _configs([own(page)], {"any": facts}, profile, page.seeds)


def imp(page: SimpleNamespace) -> Study:
    """The runs of the page ``imp``: one subset size, one augmentation, several seeds. See ``finding``."""
    return finding("imp", page)


def finding(name: str, page: SimpleNamespace) -> Study:
    """The runs of a page: those of the plan, or those that the page's own parameters describe.

    Where the page trains, ``auto`` means paper scale on a GPU and demo scale elsewhere. A page that only
    reads takes the scale and the images at which all its runs are on record, paper scale and real images
    first.

    Raises:
        ParameterError: a device that is not there; rounds that would leave no weight.
        MissingRun: the page only reads, and some of its runs were never made.
    """
    device, auto = chosen_device(page.device), page.profile == "auto"
    cells = [own(page)] if hasattr(page, "fraction") else [c for c in PLAN if name in c.pages.split()]
    if page.train:
        profile = "paper" if auto and device == "cuda" else "demo" if auto else page.profile
        roles = {cell.data for cell in cells if cell.seeds(profile)}
        names = {role: place(role, page.dataset, page.data_root) for role in roles}
        opened = {dataset: open_source(dataset, page.data_root) for dataset in {*names.values()}}
        found = {role: opened[dataset].facts for role, dataset in names.items()}
        sources = {source.facts.name: source for source in opened.values()}
        return _study(_configs(cells, found, profile, page.seeds), profile, found, sources, page, device)
    made = load_all(page.runs)
    keys, sets = {record.config.key for record in made}, data_sets(made)
    if page.dataset != "auto":
        sets = [open_source(page.dataset, page.data_root).facts]
    for profile in ["paper", "demo"] if auto else [page.profile]:
        wanted = [cell for cell in cells if cell.seeds(profile)]
        found = {role: _whole(role, wanted, sets, keys, profile, page) for role in {c.data for c in wanted}}
        if wanted and all(found.values()):
            return _study(_configs(cells, found, profile, page.seeds), profile, found, {}, page, device)
    raise MissingRun(
        f"{page.dataset} has not all runs of the page {name} on record; pass -p train True to run them"
    )


def _study(configs, profile, facts, sources, page, device) -> Study:  # types: see finding
    roles = {role: each.name for role, each in facts.items()}
    return Study(configs, profile, {e.name: e for e in facts.values()}, sources, page, device, roles)


def _whole(role, cells, sets, keys, profile, page) -> Facts | None:  # types: see finding
    """The first data set for a role that has all its runs on record."""
    mine = [cell for cell in cells if cell.data == role]
    if role != "any" and page.dataset == "auto":
        sets = [each for stem in ROLES[role] for each in sets if bare(each.name) == stem]
    for facts in sets:
        try:
            configs = _configs(mine, {role: facts}, profile, page.seeds)
        except ParameterError:  # this set is too small for what is asked
            continue
        asked = {cell.change["fraction"] for cell in mine} - {config.data.images for config in configs}
        if all(fraction <= 1 for fraction in asked) and keys >= {config.key for config in configs}:
            return facts
    return None


def _configs(cells: list[Cell], facts: dict[str, Facts], profile: str, seeds: int) -> tuple[RunConfig, ...]:
    found = {}
    for cell in cells:
        chosen = cell.seeds(profile, seeds)
        config = resolve(facts[cell.data], profile, cell.change) if chosen else None
        found |= {made.key: made for made in (config.replace(seed=seed) for seed in chosen)}
    return tuple(found.values())


def next_step(study: Study) -> str:
    """The command that repeats a page with twice the images or, where there are no more, twice the seeds."""
    page, images = study.page, study.configs[0].data.images
    more = study.facts[study.configs[0].data.name].pool >= 2 * images
    change = {"fraction": 2 * images} if more else {"seeds": 2 * page.seeds}
    options = [f"-p {name} {shlex.quote(str(value))}" for name, value in {**page.given, **change}.items()]
    return " ".join(["papermill notebooks/imp.ipynb", *options])


def data_sets(records: list[Record]) -> list[Facts]:
    """The data sets that records were made on, rendered ones last."""
    names = [each.name for each in dataclasses.fields(Facts)]
    found = {made.data["sha256"]: {name: made.data[name] for name in names} for made in records}
    facts = [Facts(**{**values, "classes": tuple(values["classes"])}) for values in found.values()]
    return sorted(facts, key=lambda each: (each.name == "glyphs", each.name))


def obtain(study: Study) -> list[Record]:
    """Return the records of a study in its order; train what is missing if the page says so.

    Raises:
        MissingRun: a run is not on record and ``train`` is False.
        DataError: a record was made on other images than those at hand.
    """
    page, records = study.page, {}
    for config in study.configs:
        try:
            records[config.key] = load_record(config, page.runs)
        except MissingRun:
            if not page.train:
                raise
    for record in records.values():
        name = record.config.data.name
        if record.data["sha256"] != study.facts[name].sha256:
            raise DataError(f"{record.config.key}.json was made on another version of {name}; set it aside")
    missing = [config for config in study.configs if config.key not in records]
    print(f"{len(records)} of {len(study.configs)} runs are on record")
    if missing:
        records |= {record.config.key: record for record in _train(study, missing)}
    return [records[config.key] for config in study.configs]


def inside(study: Study, records: list[Record]) -> dict[str, dict]:
    """Key -> what ``layers.measure`` finds, of the tickets with the augmentation that the paper takes.

    What is missing is measured if the page says so; tickets that are not at hand are made again.

    Raises:
        MissingRun: a measure was never made and ``train`` is False.
    """
    mine = [r for r in records if r.config.train.augment == PAPERS_OWN.get(r.config.data.images)]
    found = {}
    for record in mine:
        try:
            found[record.config.key] = measures.load(record.config, "layers", study.page.runs)
        except MissingRun:
            if not study.page.train:
                raise
            found[record.config.key] = _inside(study, record, records)
    return found


def _inside(study: Study, record: Record, records: list[Record]) -> dict:
    same = [r.config for r in records if r.config.seed == record.config.seed]
    top, source = folders(study.page.runs)[0], study.sources[record.config.data.name]
    last = stats.ticket_round(record)
    for config in same:
        if not ticket_path(top / config.key, last).exists():
            settings = {"device": study.device, "precision": study.precision, "runs": study.page.runs}
            run(config, study.sources[config.data.name], **settings, again=True)
    others = {config.key: top / config.key for config in same if config.key != record.config.key}
    data = load_data(source, record.config.data, record.config.seed)
    values = layers.measure(record, top / record.config.key, others, data, last)
    measures.save(record.config, "layers", values, study.page.runs)
    return values


def _train(study: Study, missing: list[RunConfig]) -> Iterator[Record]:
    device, precision, page = study.device, study.precision, study.page
    for name, source in study.sources.items():
        if source.note:
            print(f"NOTE data set {name}: {source.note}")
    with device_errors(missing[0], device):
        seconds = estimate(missing, study.sources, device, precision)
    scale = f"{study.profile} scale on {device} in {precision}"
    print(f"training {len(missing)} runs at {scale}: about {clock(seconds)}")
    progress = Progress(sum(epochs(config) for config in missing))
    recorded = len(study.configs) - len(missing)
    for finished, config in enumerate(missing):
        settings = {"device": device, "precision": precision, "runs": page.runs, "progress": progress}
        try:
            yield run(config, study.sources[config.data.name], **settings)
        except KeyboardInterrupt:
            done = f"{recorded + finished} of {len(study.configs)} runs are on record"
            print(f"interrupted; {done}, run again to go on")
            raise
