"""Runs that are to be made: what each needs, in which order they are begun, and what became of them."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from lthnb.config import RunConfig
from lthnb.images.dataset import DataError
from lthnb.runs import record
from lthnb.runs.machine import Settings
from lthnb.runs.record import MissingRun, Record, is_on_record
from lthnb.runs.ticket import ticket_path
from lthnb.training.imp import epoch_spans, epochs
from lthnb.training.masks import CONTROLS

AGAIN = 5.0  # seconds after which a run that another process held is tried again


@dataclass(frozen=True)
class Job:
    """One run to be made, and what a worker needs to make it; it can be sent to another machine."""

    config: RunConfig
    dataset: str  # how the images are opened
    settings: Settings
    seconds: float = 0.0  # that it may take
    again: bool = False  # its record is there, its tickets are not
    sha256: str | None = None  # of its images, where they are at hand

    @property
    def key(self) -> str:
        """The key of its run."""
        return self.config.key

    def after(self) -> str | None:
        """The key of the run that has to be made before, if there is one."""
        return self.config.requires and self.config.requires.key


@dataclass(frozen=True)
class News:
    """What happened to a job: ``epoch``, ``finished`` or ``failed``."""

    job: Job
    what: str
    epochs: int = 0  # done so far
    seconds: float = 0.0  # taken
    error: BaseException | None = None  # why it failed

    @property
    def reason(self) -> str:
        """Why it failed, in a sentence."""
        return f"{type(self.error).__name__}: {self.error}"


def same_images(records: Iterable[Record], hashes: dict[str, str]) -> None:
    """Raise ``DataError`` if a record was made on other images than those at hand, name -> SHA-256."""
    for finished in records:
        name = finished.config.data.name
        if hashes.get(name) not in (None, finished.data["sha256"]):
            raise DataError(f"{finished.config.key}.json was made on another version of {name}; set it aside")


def missing(jobs: list[Job], published: bool = False) -> list[Job]:
    """The jobs that are not on record, each after the run it requires, if that is not there either.

    Args:
        published: whether the records that the book ships count too.
    """
    own = {job.key: job for job in jobs}
    ordered = {}
    for job in jobs:
        if is_on_record(job.config, job.settings.runs, published):
            continue
        for needed in _required(job):
            ordered.setdefault(needed.key, needed if needed.again else own.get(needed.key, needed))
        ordered.setdefault(job.key, job)
    return list(ordered.values())


def _required(job: Job) -> list[Job]:
    """The job of the run that another requires, if its record is missing or tickets that masks come from."""
    parent = job.config.requires
    if parent is None:
        return []
    share = epochs(parent) / epochs(job.config)
    before = Job(parent, job.dataset, job.settings, job.seconds * share)
    if not is_on_record(parent, job.settings.runs, published=True):
        return [before]
    control = CONTROLS.get(job.config.prune.control)
    folder = record.folders(job.settings.runs)[0] / parent.key
    rounds = [index for index in epoch_spans(job.config) if index]
    if control and control.needs_ticket and not all(ticket_path(folder, index).exists() for index in rounds):
        return [replace(before, again=True)]
    return []


@dataclass
class Queue:
    """Jobs in their order: which may be begun next, and what became of the others."""

    waiting: list[Job]  # at the end those that are too long for the time
    minutes: float = float("inf")
    running: dict[str, Job] = field(default_factory=dict)
    failed: dict[str, BaseException] = field(default_factory=dict)  # key -> why
    finished: int = 0
    began: float = field(default_factory=time.monotonic)
    spent: float = 0.0  # seconds taken by the jobs that ended
    guessed: float = 0.0  # seconds that those were thought to take
    held: dict[str, float] = field(default_factory=dict)  # key -> when to try what another process holds

    def __post_init__(self) -> None:
        self.waiting = list(self.waiting)

    @property
    def left(self) -> float:
        """Seconds of its time that are left."""
        return 60 * self.minutes - (time.monotonic() - self.began)

    @property
    def pace(self) -> float:
        """Seconds taken over seconds guessed, of the jobs that ended."""
        return self.spent / self.guessed if self.guessed else 1.0

    def begin(self) -> Job | None:
        """Take the first job that can end in time and whose required run is neither waiting nor running."""
        ahead = {job.key for job in self.waiting} | self.running.keys()
        for job in self.waiting:
            if job.after() not in ahead and self.fits(job):
                self.waiting.remove(job)
                self.running[job.key] = job
                return job
        return None

    def fits(self, job: Job) -> bool:
        """Whether a job can end in time; a run that another process held is first left alone for a while."""
        if job.key in self.held:
            if time.monotonic() < self.held[job.key]:
                return False
            if is_on_record(job.config, job.settings.runs) and not job.again:
                return True
        return job.seconds * self.pace <= self.left

    def put_back(self, job: Job, error: BaseException) -> None:
        """Take in that another process holds a run: it is tried again later, others go on."""
        del self.running[job.key]
        self.waiting.append(job)
        if job.key not in self.held:
            print(f"NOTE {job.config.slug}: {error}; it is tried again until it is free", flush=True)
        self.held[job.key] = time.monotonic() + AGAIN

    def wait(self) -> bool:
        """Wait a second for runs that other processes hold; False when there is none, or no time."""
        expected = self.left > 0 and any(job.key in self.held for job in self.waiting)
        if expected:
            time.sleep(min(1, AGAIN))
        return expected

    def finish(self, job: Job, seconds: float) -> News:
        """Take in that a job ended."""
        del self.running[job.key]
        self.finished += 1
        if job.key not in self.held:  # made elsewhere, or not from its begin
            self.spent += seconds
            self.guessed += job.seconds
        return News(job, "finished", epochs(job.config), seconds)

    def fail(self, job: Job, error: BaseException) -> Iterator[News]:
        """Take in that a job failed, and with it those that require its run."""
        self.running.pop(job.key, None)
        self.failed[job.key] = error
        yield News(job, "failed", error=error)
        for other in [other for other in self.waiting if other.after() == job.key]:
            self.waiting.remove(other)
            yield from self.fail(other, MissingRun(f"it needs {job.config.slug}, which failed"))

    def seconds_left(self, workers: int) -> float:
        """Seconds until all is done, about, on so many workers."""
        jobs = [*self.waiting, *self.running.values()]
        return sum(job.seconds for job in jobs) * self.pace / max(1, workers)
