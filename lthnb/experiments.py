"""The runs behind each finding, and the one rule for all: load what is on record, train what is missing."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import torch

from lthnb.config import PROFILES, ParameterError, RunConfig
from lthnb.data import count
from lthnb.folders import DataError, Facts, Source
from lthnb.masks import prunable
from lthnb.parameters import Progress, clock, overrides
from lthnb.record import MissingRun, Record, load_all
from lthnb.record import load as load_record
from lthnb.running import device_errors, epochs, estimate, run
from lthnb.sets import open_source
from lthnb.tickets import Shape


@dataclass(frozen=True)
class Study:
    """The runs of a page, and what it takes to make those that are missing."""

    configs: tuple[RunConfig, ...]
    profile: str
    facts: Facts
    source: Source | None  # None: records are read, nothing is trained
    page: SimpleNamespace
    device: str = "cpu"

    @property
    def precision(self) -> str:
        """``bf16`` where the device computes in it, unless the page says otherwise."""
        wanted = getattr(self.page, "precision", "auto")
        capable = torch.cpu.get_capabilities().get("avx512_bf16", False)
        if self.device == "cuda":
            capable = torch.cuda.is_bf16_supported(including_emulation=False)
        return wanted if wanted != "auto" else "bf16" if capable else "fp32"


def plan(facts: Facts, page: SimpleNamespace, profile: str) -> tuple[RunConfig, ...]:
    """One configuration per seed: the profile's values and the page's own, resolved against the data set."""
    chosen = overrides(page)
    values = {**PROFILES[profile], **chosen}
    if "side" not in chosen and profile == "demo" and facts.side > 64:
        values["side"] = 64
    values["side"] = min(values.get("side", 0), facts.side) % facts.side  # 0: as stored
    config = RunConfig.of(
        name=facts.name, split="refit" if facts.few and not values.get("long_tail") else "holdout", **values
    )
    config = config.replace(images=count(facts, config.data, page.fraction))
    shape = Shape(config.network, facts.channels, config.data.side or facts.side, facts.classes)
    weights = sum(weight.numel() for weight in prunable(shape.empty()).values())
    if weights * (1 - config.prune.rate) ** config.prune.rounds < 1:
        raise ParameterError(f"rounds {config.prune.rounds} at rate {config.prune.rate:g} leave no weight")
    return tuple(config.replace(seed=seed) for seed in range(page.seeds))


def imp(page: SimpleNamespace) -> Study:
    """The runs of the page ``imp``: one subset size, one augmentation, several seeds.

    ``auto`` means paper scale on a GPU and demo scale elsewhere. A page that only reads takes the set and the
    scale that are on record, real images and paper scale first.

    Raises:
        ParameterError: a device that is not there; rounds that would leave no weight.
    """
    device = ("cuda" if torch.cuda.is_available() else "cpu") if page.device == "auto" else page.device
    if device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device must be auto or cpu where torch finds no GPU, got 'cuda'")
    source = open_source(page.dataset, page.data_root) if page.train or page.dataset != "auto" else None
    if page.train:
        profile = page.profile if page.profile != "auto" else "paper" if device == "cuda" else "demo"
        return Study(plan(source.facts, page, profile), profile, source.facts, source, page, device)
    found = load_all(page.runs)
    keys, sets = {made.config.key for made in found}, [source.facts] if source else data_sets(found)
    for profile in [page.profile] if page.profile != "auto" else ["paper", "demo"]:
        for facts in sets:
            try:
                configs = plan(facts, page, profile)
            except ParameterError:  # this set is too small for what is asked
                continue
            asked = page.fraction in (configs[0].data.images, 1) or page.fraction < 1
            if asked and keys >= {config.key for config in configs}:
                return Study(configs, profile, facts, None, page, device)
    raise MissingRun(
        f"{page.dataset} has not all runs of this page on record; pass -p train True to run them"
    )


def next_step(study: Study) -> str:
    """The command that repeats a page with twice the images or, where there are no more, twice the seeds."""
    page, images = study.page, study.configs[0].data.images
    more = study.facts.pool >= 2 * images
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
        if record.data["sha256"] != study.facts.sha256:
            raise DataError(
                f"{record.config.key}.json was made on another version of {study.facts.name}; set it aside"
            )
    missing = [config for config in study.configs if config.key not in records]
    print(f"{len(records)} of {len(study.configs)} runs are on record")
    if missing:
        records |= {record.config.key: record for record in _train(study, missing)}
    return [records[config.key] for config in study.configs]


def _train(study: Study, missing: list[RunConfig]) -> Iterator[Record]:
    assert study.source is not None
    device, precision, page = study.device, study.precision, study.page
    if study.source.note:
        print(f"NOTE data set {study.facts.name}: {study.source.note}")
    with device_errors(missing[0], device):
        seconds = estimate(missing, study.source, device, precision)
    scale = f"{study.profile} scale on {device} in {precision}"
    print(f"training {len(missing)} runs at {scale}: about {clock(seconds)}")
    progress = Progress(sum(epochs(config) for config in missing))
    recorded = len(study.configs) - len(missing)
    for finished, config in enumerate(missing):
        try:
            yield run(
                config, study.source, device=device, precision=precision, runs=page.runs, progress=progress
            )
        except KeyboardInterrupt:
            done = f"{recorded + finished} of {len(study.configs)} runs are on record"
            print(f"interrupted; {done}, run again to go on")
            raise
