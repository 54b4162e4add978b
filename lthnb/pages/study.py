"""The runs behind a page, and the one rule for all: load what is on record, train what is missing."""

import shlex
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field

from lthnb import experiments
from lthnb.config import PROFILES, ParameterError, RunConfig, bare_name
from lthnb.images.dataset import DatasetInfo
from lthnb.lines import DENSE, Experiment
from lthnb.pages.on_record import on_record
from lthnb.pages.parameters import Parameters
from lthnb.pages.progress import followed
from lthnb.pages.served import Served, serve
from lthnb.runs import record, sweep
from lthnb.runs.costs import cost
from lthnb.runs.files import Damaged, FileMissing
from lthnb.runs.machine import Settings, cores
from lthnb.runs.queue import Job, Queue, same_images
from lthnb.runs.record import MissingRun, Record
from lthnb.schedules import STRONG
from lthnb.training.imp import epochs

WORTH_IT = 45.0  # seconds of work from which starting more processes pays


@dataclass(frozen=True)
class Study:
    """The runs of a page, and what it takes to make those that are missing."""

    configs: tuple[RunConfig, ...]
    profile: str
    infos: dict[str, DatasetInfo]  # what the plan calls a data set -> what serves
    page: Parameters
    images: dict[str, Served] = field(default_factory=dict)  # by name; none where records are read

    @property
    def roles(self) -> dict[str, str]:
        """What the plan calls a data set -> its name."""
        return {role: info.name for role, info in self.infos.items()}

    @property
    def hashes(self) -> dict[str, str]:
        """Name of a data set -> SHA-256 of its content."""
        return {info.name: info.sha256 for info in self.infos.values()}

    @property
    def settings(self) -> Settings:
        """How and where its runs are made."""
        page = self.page
        return Settings(sweep.absolute(page.runs), page.data_root, page.device, page.precision)

    def describe(self) -> str:
        """How many runs at which scale, on which images."""
        images = ", ".join(sorted({bare_name(name) for name in self.roles.values()}))
        return f"{len(self.configs)} runs at {self.profile} scale on {images}"


def find(name: str, page: Parameters) -> Study:
    """The runs of a page: those of the plan, or those that the page's own parameters describe.

    Where the page trains, ``auto`` means paper scale on a GPU, else demo. A page that only reads takes the
    scale and images at which all its runs are on record, paper scale and real images first.

    Raises:
        ParameterError: no such device; rounds that would leave no weight; no runs at this scale.
        MissingRun: the page only reads, and some of its runs were never made.
    """
    sweep.remembered_source.cache_clear()  # a set may have changed since the cell was run last
    device = Settings(device=page.device).chosen_device
    lines = experiments.of_page(name) if page.fraction is None else own_lines(name, page)
    if page.train:
        usual = {"cuda": "paper", "cpu": "demo"}[device]
        return to_train(lines, usual if page.profile == "auto" else page.profile, page)
    profile, infos = on_record(name, lines, page)
    return Study(experiments.seeds_of(lines, infos, profile, page.seeds), profile, infos, page)


def own_lines(name: str, page: Parameters) -> list[Experiment]:
    """The runs that a page's own parameters describe, and a strong dense network beside; any images."""
    own = page.changes | {"fraction": page.fraction}
    seeds = dict.fromkeys(PROFILES, page.seeds)
    return [Experiment(name, "any", change, **seeds) for change in (own, own | STRONG | DENSE)]


def to_train(lines: list[Experiment], profile: str, page: Parameters) -> Study:
    """The runs of lines of the plan, on the images that serve; raise ``DataMissing`` where none do."""
    infos, images = {}, {}
    for role in {line.data: None for line in lines if line.seeds(profile)}:
        served = serve(role, page)
        infos[role] = served.source.info
        images[served.source.info.name] = served
    configs = experiments.seeds_of(lines, infos, profile, page.seeds)
    if not configs:
        raise ParameterError(f"profile must be another one, {profile!r} has no runs of this page")
    return Study(configs, profile, infos, page, images)


def next_step(study: Study) -> str:
    """The command that repeats a page with twice the images or, where there are no more, twice the seeds."""
    images = study.configs[0].data.images
    enough = next(iter(study.infos.values())).pool >= 2 * images
    change = {"fraction": 2 * images} if enough else {"seeds": 2 * study.page.seeds}
    options = [f"-p {name} {shlex.quote(str(value))}" for name, value in (study.page.given | change).items()]
    return " ".join(["papermill notebooks/imp.ipynb", *options])


def where(study: Study) -> list[str]:
    """The files of its records, relative to the repository where they lie inside."""
    return [record.shown(record.locate(config, study.settings.runs)) for config in study.configs]


def obtain(study: Study) -> list[Record]:
    """Return the records of a study in its order; train what is missing if the page says so.

    Raises:
        MissingRun: a run is not on record and ``train`` is False.
        DataError: a record was made on other images than those at hand.
    """
    records: dict[str, Record] = {}
    absent: list[RunConfig] = []
    for config in study.configs:
        try:
            records[config.key] = record.load(config, study.settings.runs)
        except (MissingRun, Damaged, FileMissing):  # the queue names those that are damaged
            if not study.page.train:
                raise
            absent.append(config)
    same_images(records.values(), study.hashes)
    tell_precision(records.values(), study.page.precision)
    print(f"{len(records)} of {len(study.configs)} runs are on record")
    if absent:
        train(study, absent)
        records |= {config.key: record.load(config, study.settings.runs) for config in absent}
    return [records[config.key] for config in study.configs]


def beside(study: Study, name: str, profile: str = "") -> list[Record]:
    """Other lines of the plan on the images of a page, at its scale or a named one, as far as on record."""
    lines = [line for line in experiments.of_page(name) if line.data in study.infos]
    most = 10**6 if name == "tuning" else study.page.seeds  # a choice is made on all of its seeds
    configs = experiments.seeds_of(lines, study.infos, profile or study.profile, most)
    runs = study.settings.runs
    records = [record.load(config, runs) for config in configs if record.is_on_record(config, runs)]
    same_images(records, study.hashes)
    return records


def tell_precision(records: Iterable[Record], wanted: str) -> None:
    """Name the records that were made in another precision than the one that was asked for."""
    if wanted == "auto":
        return
    precisions = [(finished.config.key, finished.made["precision"]) for finished in records]
    others = ", ".join(f"{key} ({made})" for key, made in precisions if made != wanted)
    if others:
        print(f"NOTE {wanted} was asked for; on record in another precision, and not made again: {others}")


def job_of(study: Study, config: RunConfig) -> Job:
    """What a worker needs to make a run of a page."""
    served = study.images[config.data.name]
    seconds = cost(config, served.source.info, study.settings.chosen_device)
    return Job(config, served.dataset, study.settings, seconds)


def train(study: Study, configs: list[RunConfig]) -> None:
    """Make the runs of a page that are missing, one worker a core where that is worth it."""
    settings = study.settings
    queue = Queue(sweep.missing([job_of(study, config) for config in configs]))
    worth_it = settings.chosen_device == "cpu" and queue.seconds_left(1) >= WORTH_IT
    workers = min(cores(), len(queue.waiting)) if worth_it else 1
    side_by_side = f", {workers} at a time" if workers > 1 else ""
    scale = f"{study.profile} scale on {settings.chosen_device} in {settings.chosen_precision}"
    print(f"training {len(configs)} runs at {scale}{side_by_side}")
    finished = len(study.configs) - len(configs)
    total = sum(epochs(job.config) for job in queue.waiting)
    try:
        with closing(sweep.carry_out(queue, workers)) as news:  # lets go of its runs, whatever interrupts
            for one in followed(news, total):
                if one.error:
                    raise one.error
                finished += one.what == "finished" and one.job.config in configs
    except KeyboardInterrupt:
        print(f"interrupted; {finished} of {len(study.configs)} runs are on record, run again to go on")
        raise
