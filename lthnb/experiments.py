"""The runs behind each finding, and the one rule for all: load what is on record, train what is missing."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from lthnb import stats
from lthnb.config import PROFILES, RunConfig
from lthnb.data import Data, Split, count, load
from lthnb.folders import DataError, Facts, Source
from lthnb.imp import Round, rounds
from lthnb.masks import kept, ones, prunable
from lthnb.models import build
from lthnb.parameters import Progress, clock, overrides
from lthnb.record import MissingRun, Record, load_all, made, save
from lthnb.record import load as load_record
from lthnb.sets import open_source
from lthnb.train import train

FEW = 2000  # a folder with fewer training images chooses its round on a 60/40 split and is then run on all


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
        capable = self.device == "cuda" or torch.cpu.get_capabilities().get("avx512_bf16", False)
        return wanted if wanted != "auto" else "bf16" if capable else "fp32"


def plan(facts: Facts, page: SimpleNamespace, profile: str) -> tuple[RunConfig, ...]:
    """One configuration per seed: the profile's values and the page's own, resolved against the data set."""
    chosen = overrides(page)
    values = {**PROFILES[profile], **chosen}
    if "side" not in chosen and profile == "demo" and facts.side > 64:
        values["side"] = 64
    values["side"] = min(values.get("side", 0), facts.side) % facts.side  # 0: as stored
    small = facts.name.startswith("folder:") and facts.pool < FEW
    config = RunConfig.of(name=facts.name, split="refit" if small else "holdout", **values)
    config = config.replace(images=count(facts, config.data, page.fraction))
    return tuple(config.replace(seed=seed) for seed in range(page.seeds))


def imp(page: SimpleNamespace) -> Study:
    """The runs of the page ``imp``: one subset size, one augmentation, several seeds.

    ``auto`` means paper scale on a GPU and demo scale elsewhere. A page that only reads takes the set and the
    scale that are on record, real images first.
    """
    device = ("cuda" if torch.cuda.is_available() else "cpu") if page.device == "auto" else page.device
    profile = page.profile if page.profile != "auto" else "paper" if device == "cuda" else "demo"
    if page.train or page.dataset != "auto":
        source = open_source(page.dataset, page.data_root)
        return Study(plan(source.facts, page, profile), profile, source.facts, source, page, device)
    for profile in [page.profile] if page.profile != "auto" else ["paper", "demo"]:
        for facts in on_record(page.runs):
            configs = plan(facts, page, profile)
            if {config.key for config in configs} <= {record.config.key for record in load_all(page.runs)}:
                return Study(configs, profile, facts, None, page, device)
    raise MissingRun("no data set has all the runs of this page on record; pass -p train True to run them")


def on_record(runs: str = "") -> list[Facts]:
    """The data sets of all records at hand, rendered ones last."""
    names = [each.name for each in dataclasses.fields(Facts)]
    found = {record.data["sha256"]: {name: record.data[name] for name in names} for record in load_all(runs)}
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
    torch.set_num_threads(1)  # two threads are slower than one as soon as a second process runs
    device, precision, page = study.device, study.precision, study.page
    if study.source.note:
        print(f"NOTE data set {study.facts.name}: {study.source.note}")
    seconds = estimate(missing, study.source, device, precision)
    scale = f"{study.profile} scale on {device} in {precision}"
    print(f"training {len(missing)} runs at {scale}: about {clock(seconds)}")
    progress = Progress(sum(epochs(config) for config in missing))
    for finished, config in enumerate(missing):
        try:
            record = run(config, study.source, device, precision, progress)
        except KeyboardInterrupt:
            print(f"interrupted; {finished} of {len(missing)} runs are on record, run again to go on")
            raise
        save(record, page.runs)
        yield record


def epochs(config: RunConfig) -> int:
    """Epochs of all trainings of a run."""
    later = config.train.epochs - (config.prune.rewind_epoch if config.prune.rewind == "corrected" else 0)
    once = config.train.epochs + config.prune.rounds * later
    return 2 * once if config.data.split == "refit" else once


def estimate(configs: list[RunConfig], source: Source, device: str, precision: str) -> float:
    """Seconds that runs of equal size will take, from two timed batches and one timed evaluation."""
    config = configs[0]
    data = load(source, config.data, config.seed, device)
    few = Split(
        data.train.images[: 2 * config.train.batch_size], data.train.labels[: 2 * config.train.batch_size]
    )
    nothing = Split(data.test.images[:0], data.test.labels[:0])
    some = Split(data.test.images[:500], data.test.labels[:500])
    trial = dataclasses.replace(data, train=few, val=nothing, test=some)
    model = _network(config, data).to(device)
    for _ in range(2):  # the first warms up
        spent = train(model, ones(model), trial, config.train, seed=0, stop=1, precision=precision).seconds
    images = sum(map(len, data.splits.values()))
    evaluations = config.train.evaluate_last * (config.prune.rounds + 1)
    training = spent["train"] / len(few) * len(data.train) * epochs(config)
    return len(configs) * (training + spent["evaluate"] / (len(few) + len(some)) * images * evaluations)


def _network(config: RunConfig, data: Data) -> torch.nn.Module:
    channels, side = data.train.images.shape[1:3]
    return build(config.network, config.seed, channels=channels, classes=len(data.classes), side=side)


def run(
    config: RunConfig, source: Source, device: str, precision: str, progress: Progress | None = None
) -> Record:
    """Run iterative magnitude pruning and measure it; ``refit`` runs it twice, once to choose the round."""
    began = time.perf_counter()
    data = load(source, config.data, config.seed, device)
    options: dict[str, Any] = {"precision": precision, "progress": progress}
    rows = []
    for each in rounds(config, data, **options):
        rows.append(_row(each, data))
        sizes = {name: weight.numel() for name, weight in prunable(each.model).items()}
    if config.data.split == "refit":
        choosing = load(source, config.data, config.seed, device, choosing=True)
        for row, each in zip(rows, rounds(config, choosing, **options), strict=True):
            first = _row(each, choosing)
            row["correct"]["val"], row["total"]["val"] = first["correct"]["val"], first["total"]["val"]
            row["seconds"] = {
                name: round(row["seconds"][name] + first["seconds"][name], 2) for name in row["seconds"]
            }
    facts = {
        **dataclasses.asdict(source.facts),
        "classes": list(source.facts.classes),
        "note": source.note,
        "counts": {
            name: split.labels.bincount(minlength=len(data.classes)).tolist()
            for name, split in data.splits.items()
        },
        "mean": [round(value, 5) for value in data.mean.flatten().tolist()],
        "std": [round(value, 5) for value in data.std.flatten().tolist()],
    }
    return Record(
        config, facts, sizes, rows, _choices(rows), made(device, precision, time.perf_counter() - began)
    )


def _row(each: Round, data: Data) -> dict[str, Any]:
    trained = each.trained
    evaluated = [{"epochs": done, **right} for done, right in trained.correct.items()]
    curve = {"loss": [float(f"{loss:.4g}") for loss in trained.losses], "correct": evaluated}
    return {
        "round": each.index,
        "kept": kept(each.masks),
        "correct": trained.correct[max(trained.correct)],
        "total": {name: len(split) for name, split in data.splits.items()},
        "loss": curve["loss"][-1],
        "seconds": {name: round(value, 2) for name, value in trained.seconds.items()},
        "curve": curve,
    }


def _choices(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Which round each rule takes; for val its size and the standard error of an accuracy measured on it."""
    index, choices = stats.chosen_on_val(rows), {"val": None, "test": stats.best_on_test(rows)}
    if index is not None:
        total = rows[index]["total"]["val"]
        accuracy = rows[index]["correct"]["val"] / total
        error = math.sqrt(accuracy * (1 - accuracy) / total)
        choices["val"] = {"round": index, "images": total, "standard_error": round(error, 4)}
    return choices
