"""The whole plan at a terminal: what is missing is made, the most useful first, and measured."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from lthnb import experiments
from lthnb.config import PROFILES, RunConfig
from lthnb.experiments import PLAN, Experiment
from lthnb.images.dataset import DatasetInfo
from lthnb.images.sources import serving
from lthnb.measures.finished import FinishedRun
from lthnb.pages import study
from lthnb.pages.parameters import Parameters
from lthnb.pages.progress import clock
from lthnb.rules import ParameterError, UserError, did_you_mean, one_of, ruled, rules_of, whole
from lthnb.runs import record
from lthnb.runs.costs import cost
from lthnb.runs.machine import Settings, cores
from lthnb.runs.queue import Job, News, Queue, missing
from lthnb.runs.record import is_on_record
from lthnb.runs.sweep import absolute, carry_out, remembered_source

MEASURED = {"layers": "layers"}  # page -> what is measured on its runs


@dataclass(frozen=True)
class Wish:
    """What a sweep was asked for: the options of the command line, by their names."""

    finding: list[str] = field(default_factory=list)  # pages; none means all
    profile: str = ruled("auto", one_of("auto", *PROFILES))
    seeds: int = ruled(0, whole(0))  # of each line of the plan, at most; 0: as planned
    workers: int = ruled(0, whole(0))  # 0: one a core, or one a GPU
    minutes: float = math.inf  # no run is begun that would end later
    scheduler: str = ""  # of a Dask cluster elsewhere
    list: bool = False  # show what is missing, and make nothing
    runs: str = ""
    data_root: str = ""
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name, rule in rules_of(Wish).items():
            rule.check(f"--{name}", getattr(self, name))
        if not self.minutes > 0:
            raise ParameterError(f"--minutes must be above 0, got {self.minutes:g}")

    @property
    def settings(self) -> Settings:
        """How its runs are made; a device is demanded here unless runs are only listed, or made elsewhere."""
        settings = Settings(absolute(self.runs), self.data_root, self.device, self.precision)
        if self.list or self.scheduler:
            return settings
        return dataclasses.replace(settings, device=settings.chosen_device)

    @property
    def planned_device(self) -> str:
        """The device that the time is planned for."""
        if self.settings.device != "auto":
            return self.settings.device
        on_cluster = self.scheduler and self.profile == "paper"
        return "cuda" if on_cluster else self.settings.chosen_device

    @property
    def scale(self) -> str:
        """The profile: paper on a GPU, else demo, unless one was named."""
        if self.profile != "auto":
            return self.profile
        return "paper" if self.planned_device == "cuda" else "demo"


def lines(wish: Wish) -> list[Experiment]:
    """The lines of the plan that a sweep is about.

    Raises:
        ParameterError: an unknown finding.
    """
    known = sorted({name for line in PLAN for name in line.pages.split()})
    for name in wish.finding:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ParameterError(f"{name!r} is no finding of the plan{hint}; it has {known}")
    wanted = [line for line in PLAN if not wish.finding or {*wish.finding} & {*line.pages.split()}]
    return [line for line in wanted if line.seeds(wish.scale)]


def jobs(wish: Wish) -> Iterator[tuple[Experiment, list[Job], str]]:
    """The plan's lines with their jobs, or with why they cannot be made, in its order."""
    most = wish.seeds or 10**6
    infos: dict[str, DatasetInfo] = {}  # how images are opened -> what they are
    root = wish.settings.data_root
    for line in lines(wish):
        try:
            dataset = serving(line.data, "auto", root)
            if dataset not in infos:
                infos[dataset] = remembered_source(dataset, root).info
            config = experiments.resolve(infos[dataset], wish.scale, line.change)
        except UserError as error:  # images that are missing or damaged stop no other line
            yield line, [], str(error).partition(";")[0]
            continue
        seconds = cost(config, infos[dataset], wish.planned_device)
        seeds = line.seeds(wish.scale, most)
        yield (
            line,
            [Job(config.replace(seed=seed), dataset, wish.settings, seconds) for seed in seeds],
            "",
        )


def missing_of(planned: list[Job]) -> list[Job]:
    """The jobs of a line that are not on record, in the folder or among the published."""
    return [job for job in planned if not is_on_record(job.config, job.settings.runs, published=True)]


def sweep(wish: Wish) -> int:
    """Make the runs that are missing, or list them; return the exit status."""
    wanted: dict[str, Job] = {}
    for line, planned, why_not in jobs(wish):
        if why_not:
            print(f"{line.describe()}  left out: {why_not}")
            continue
        left = missing_of(planned)
        if wish.list:
            done = f"{len(planned) - len(left)} of {len(planned)} on record"
            print(f"{line.describe()}  {done}, {planned[0].seconds:6.0f} s each")
        wanted |= {job.key: job for job in left}
    queue = Queue(missing(list(wanted.values()), published=True), wish.minutes)
    absent = f"{len(queue.waiting)} runs at {wish.scale} scale are missing"
    print(f"{absent}: {clock(queue.seconds_left(1))} on one {wish.planned_device} worker")
    if wish.list:
        return 0
    gpus = torch.cuda.device_count() if wish.settings.device == "cuda" else 0
    workers = wish.workers or gpus or cores()
    failed, late = told(carry_out(queue, workers, wish.scheduler), queue, workers)
    if not wish.scheduler:
        measure_pages(wish)
    print(f"{queue.finished} runs made, {late} too long for the time, {failed} failed")
    return 1 if failed else 0


def told(news: Iterator[News], queue: Queue, workers: int) -> tuple[int, int]:
    """Print what happens; return how many jobs failed, and how many were too long."""
    total = len(queue.waiting)
    failed = 0
    late = 0
    for one in news:
        if one.what == "finished":
            left = clock(queue.seconds_left(workers))
            head = f"{queue.finished} of {total} runs, {left} left"
            print(f"{head}: {one.job.config.slug}, {one.seconds:.0f} s", flush=True)
        elif one.what == "failed":
            failed += 1
            print(f"FAILED {one.job.config.slug}: {one.reason}", flush=True)
        elif one.what == "late":
            late += 1
    return failed, late


def measure_pages(wish: Wish) -> None:
    """Measure what pages show beside the records, of seeds whose runs are all there with their tickets."""
    for page, name in MEASURED.items():
        if wish.finding and page not in wish.finding:
            continue
        own = [line for line in experiments.of_page(page) if line.seeds(wish.scale)]
        if not own:
            continue
        settings = wish.settings
        parameters = Parameters(
            profile=wish.scale,
            seeds=wish.seeds or 1000,
            train=True,
            device=settings.device,
            precision=settings.precision,
            runs=settings.runs,
            data_root=settings.data_root,
        )
        try:
            found = study.to_train(own, wish.scale, parameters)
        except UserError:  # told above, where the line was left out
            continue
        for seed in sorted({config.seed for config in found.configs}):
            of_seed = [config for config in found.configs if config.seed == seed]
            if all(has_tickets(config, settings.runs) for config in of_seed):
                study.measure(found, [record.load(config, settings.runs) for config in of_seed], name)


def has_tickets(config: RunConfig, runs: str) -> bool:
    """Whether a run was made in this folder and its tickets are still there."""
    folder = record.folders(runs)[0]
    if not (folder / f"{config.key}.json").exists():
        return False
    return FinishedRun(record.load(config, runs), folder / config.key).has_tickets()
