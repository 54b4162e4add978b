"""The whole plan at a terminal: what is missing is made, the most useful first, and measured."""

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from lthnb import experiments
from lthnb.config import RunConfig
from lthnb.experiments import PLAN
from lthnb.lines import Experiment
from lthnb.measures.finished import FinishedRun
from lthnb.measures.measure import EVERY, MEASURES
from lthnb.pages import measured, study
from lthnb.pages.parameters import Parameters
from lthnb.pages.progress import clock
from lthnb.pages.served import Served, serve
from lthnb.rules import ParameterError, UserError, between, one_of, ruled, rules_of, whole
from lthnb.runs import record
from lthnb.runs.costs import cost
from lthnb.runs.machine import Settings, cores
from lthnb.runs.queue import Job, News, Queue, missing, same_images
from lthnb.runs.record import is_on_record
from lthnb.runs.sweep import absolute, carry_out

LONG = 600.0  # seconds of a run from which on it comes after all shorter ones
Planned = tuple[Experiment, list[Job], UserError | None]  # a line, its jobs, or why there are none


@dataclass(frozen=True, kw_only=True)
class Wish(Parameters):
    """What a sweep was asked for: parameters that every page has too, and options of the command line."""

    seeds: int = ruled(10**6, whole(1))  # of each line of the plan, at most
    train: bool = True
    finding: list[str] = field(default_factory=list)  # pages; none means all
    workers: int = ruled(0, whole(0))  # 0: one a core, or one a GPU
    minutes: float = ruled(10**6, between(0, 10**7))  # no run is begun that would end later
    scheduler: str = ""  # of a Dask cluster elsewhere
    list: bool = False  # show what is missing, and make nothing

    def __post_init__(self) -> None:
        for name, rule in rules_of(Wish).items():
            if name != "fraction":  # the plan has its own
                rule.check(f"--{name.replace('_', '-')}", getattr(self, name))

    @property
    def settings(self) -> Settings:
        """How its runs are made; a device is demanded here unless runs are only listed, or made elsewhere."""
        captured = self.scale == "paper" and self.planned_device == "cuda"
        settings = Settings(absolute(self.runs), self.data_root, self.device, self.precision, captured)
        if self.list or self.scheduler:
            return settings
        return dataclasses.replace(settings, device=settings.chosen_device)

    @property
    def planned_device(self) -> str:
        """The device that the time is planned for."""
        if self.device != "auto":
            return self.device
        on_cluster = self.scheduler and self.profile == "paper"
        return "cuda" if on_cluster else Settings().chosen_device

    @property
    def scale(self) -> str:
        """The profile: paper on a GPU, else demo, unless one was named."""
        if self.profile != "auto":
            return self.profile
        return "paper" if self.planned_device == "cuda" else "demo"


def lines(wish: Wish) -> list[Experiment]:
    """The lines of the plan that a sweep is about.

    Raises:
        ParameterError: an unknown finding, or one that has no runs at the scale.
    """
    known = sorted({name for line in PLAN for name in line.pages.split()})
    for name in wish.finding:
        one_of(*known).check("finding", name)
    wanted = [line for line in PLAN if not wish.finding or {*wish.finding} & {*line.pages.split()}]
    planned = [line for line in wanted if line.seeds(wish.scale)]
    if not planned:
        raise ParameterError(f"the plan has no runs of {', '.join(wish.finding)} at {wish.scale} scale")
    return planned


def in_order(wish: Wish) -> list[Planned]:
    """The plan's lines with their jobs in its order, but those whose runs take long last."""
    return sorted(jobs(wish), key=lambda planned: any(job.seconds > LONG for job in planned[1]))


def jobs(wish: Wish) -> Iterator[Planned]:
    """The plan's lines with their jobs, or with why they cannot be made, in its order."""

    @functools.cache  # asked once a role, since a download may be tried
    def served_or_why_not(role: str) -> Served | UserError:
        try:
            return serve(role, wish)
        except UserError as error:
            return error

    for line in lines(wish):
        served = served_or_why_not(line.data)
        try:
            if isinstance(served, UserError):
                raise served
            info = served.source.info
            configs = experiments.seeds_of([line], {line.data: info}, wish.scale, wish.seeds)
        except UserError as error:  # images that are missing, damaged or too few stop no other line
            yield line, [], error
            continue
        seconds = cost(configs[0], info, wish.planned_device)
        about = (served.dataset, wish.settings, seconds)
        yield line, [Job(config, *about, sha256=info.sha256) for config in configs], None


def sweep(wish: Wish) -> int:
    """Make the runs that are missing, or list them; return the exit status.

    Raises:
        DataMissing: the images of all the lines that were asked for are not there.
    """
    planned = in_order(wish)
    wanted = {job.key: job for _, of_line, _ in planned for job in of_line}
    left_out = [why_not for _, _, why_not in planned if why_not]
    if not wanted:
        raise left_out[0]
    queue = Queue(missing(list(wanted.values()), published=True), wish.minutes)
    absent = {*queue.waiting}
    show_lines(planned, absent, wish)
    runs = wish.settings.runs
    on_record = [
        record.load(job.config, runs, published=True) for job in wanted.values() if job not in absent
    ]
    same_images(on_record, {job.config.data.name: job.sha256 for job in wanted.values()})
    study.tell_precision(on_record, wish.precision)
    total = f"{len(queue.waiting)} runs at {wish.scale} scale are missing"
    print(f"{total}: {clock(queue.seconds_left(1))} on one {wish.planned_device} worker")
    if wish.list:
        return 0
    gpus = torch.cuda.device_count() if wish.settings.device == "cuda" else 0
    workers = wish.workers or gpus or cores()
    tell(carry_out(queue, workers, wish.scheduler), queue, workers)
    measure_pages(wish, queue)
    late = f"{len(queue.waiting)} too long for the time"
    lines_left = f", {len(left_out)} lines of the plan left out" if left_out else ""
    print(f"{queue.finished} runs made, {late}, {len(queue.failed)} failed{lines_left}")
    return 1 if queue.failed or left_out else 0


def show_lines(planned: list[Planned], absent: set[Job], wish: Wish) -> None:
    """Print the lines that are left out and why; of a list all lines, with what is on record."""
    for line, of_line, why_not in planned:
        if why_not:
            print(f"{line.describe()}  left out: {str(why_not).partition(';')[0]}")
        elif wish.list:
            done = f"{len({*of_line} - absent)} of {len(of_line)} on record"
            print(f"{line.describe()}  {done}, {of_line[0].seconds:6.0f} s each")


def tell(news: Iterator[News], queue: Queue, workers: int) -> None:
    """Print what happens."""
    total = len(queue.waiting)
    for one in news:
        if one.what == "finished":
            left = clock(queue.seconds_left(workers))
            head = f"{queue.finished} of {total} runs, {left} left"
            print(f"{head}: {one.job.config.slug}, {one.seconds:.0f} s", flush=True)
        elif one.what == "failed":
            print(f"FAILED {one.job.config.slug}: {one.reason}", flush=True)


def measure_pages(wish: Wish, queue: Queue) -> None:
    """Measure what pages show beside the records, of seeds whose runs are all there with their tickets.

    A measure bears the name of the page that shows it. None is begun when the queue's time is over.
    """
    for name in MEASURES:
        if wish.finding and name not in wish.finding:
            continue
        if wish.scheduler:
            print(f"{name} is not measured here; its page does it with -p train True")
            continue
        try:
            found = study.to_train(experiments.of_page(name), wish.scale, wish)
        except UserError:  # told above, where the line was left out
            continue
        runs = wish.settings.runs
        until = queue.began + 60 * queue.minutes
        if name in EVERY:  # each alone; tickets that are gone are made again
            made = [record.load(config, runs) for config in found.configs if is_on_record(config, runs)]
            measured.measure(found, made, name, until=until)
            continue
        for seed in sorted({config.seed for config in found.configs}):
            of_seed = [config for config in found.configs if config.seed == seed]
            if all(has_tickets(config, runs) for config in of_seed):
                records = [record.load(config, runs) for config in of_seed]
                measured.measure(found, records, name, until=until)


def has_tickets(config: RunConfig, runs: str) -> bool:
    """Whether a run is on record and its tickets lie in the folder."""
    if not is_on_record(config, runs):
        return False
    folder = record.folders(runs)[0]
    return FinishedRun(record.load(config, runs), folder / config.key).has_tickets()
