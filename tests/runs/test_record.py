import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
from helpers.made_up import record

from lthnb.config import ParameterError, RunConfig
from lthnb.measures import measure as measures
from lthnb.runs import record as records
from lthnb.runs.files import UNSEALED, Damaged, NotReadable, seal
from lthnb.runs.record import MissingRun, Record


def tight(document):
    return json.dumps(document, separators=(",", ":"))


def resealed(path, spoil):
    """Change a record's text and seal it anew, as anybody can."""
    opened = re.sub('"seal":"[0-9a-f]{64}"', f'"seal":"{UNSEALED}"', path.read_text(), count=1)
    path.write_bytes(seal(spoil(opened).encode()))


def test_a_record_survives_its_file(tmp_path):
    made = record([0.3, 0.4])
    path = records.save(made, str(tmp_path))

    assert path.name == f"{made.config.key}.json"
    assert records.load(made.config, str(tmp_path)) == made
    assert path.stat().st_size < 50_000


def test_density_is_computed_from_counts():
    assert record([0.3, 0.4]).density == [1.0, 0.5]


def test_a_missing_run_says_how_to_get_it(tmp_path):
    with pytest.raises(MissingRun, match=r"seed 7 .*is not on record; pass -p train True"):
        records.load(RunConfig(seed=7), str(tmp_path))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace('"rounds":[', '"rounds":{', 1),
        lambda text: f'["{UNSEALED}",{{"seal":"{UNSEALED}"}}]',
        lambda text: tight({**json.loads(text), "schema": 99}),
        lambda text: tight({**json.loads(text), "key": "0" * 16}),
        lambda text: tight({key: value for key, value in json.loads(text).items() if key != "rounds"}),
        lambda text: text.replace('"seed":0', '"seed":-1'),
    ],
)
def test_what_is_no_record_is_refused_by_name(tmp_path, spoil):
    path = records.save(record([0.3]), str(tmp_path))
    resealed(path, spoil)

    with pytest.raises(Damaged, match=f"{path.name} is no record: .*; remove it to run it again"):
        records.read(path)


def row(**values):
    """Change fields of the second row."""
    return lambda document: document["rounds"][1].update(values)


def part(name, **values):
    """Change fields of a part of the second row."""
    return lambda document: document["rounds"][1][name].update(values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            part("correct", test=1001),
            r"rounds\[1\]\.correct\.test must be a whole number from 0 to 1,000, got 1001",
        ),
        (
            part("correct", test=-1),
            r"rounds\[1\]\.correct\.test must be a whole number from 0 to 1,000, got -1",
        ),
        (part("correct", test=0.5), r"correct\.test must be .*, got 0\.5"),
        (part("correct", test=True), r"correct\.test must be .*, got True"),
        (part("correct", test="900"), r"correct\.test must be .*, got '900'"),
        (part("correct", test=None), r"correct\.test must be .*, got None"),
        (part("correct", best=1), r"rounds\[1\]\.correct must be an object of train, val, test, got \{"),
        (
            part("total", test=10**40),
            r"total\.test must be a whole number from 1000 to 1,000, got 10000",
        ),
        (
            part("curve", loss=[]),
            r"the length of rounds\[1\]\.curve\.loss must be a whole number from 1 to 202, got 0",
        ),
        (part("curve", loss=["?"]), r"curve\.loss\[0\] must be a finite number from 0 on, got '\?'"),
        (part("curve", correct=[{"epochs": 2, "test": 5000}]), r"curve\.correct\.test must be .*, got 5000"),
        (
            part("curve", correct=[{"epochs": 2, "dev": 1}]),
            r"curve\.correct must be an object of epochs, got .*dev",
        ),
        (row(loss=0.25), r"rounds\[1\]\.loss must be 0\.5, as at the end of its curve, got 0\.25"),
        (
            part("curve", correct=[{"epochs": 2, "train": 500, "test": 7}]),
            r"rounds\[1\]\.correct\.test must be 7, as at the end of its curve",
        ),
        (part("seconds", train=-3), r"seconds\.train must be .*, got -3"),
        (row(round=0), r"rounds\[1\]\.round must be a whole number from 1 to 1, got 0"),
        (row(round=7), r"rounds\[1\]\.round must be a whole number from 1 to 1, got 7"),
        (row(kept=[1001]), r"kept\[0\] must be a whole number from 0 to 1,000, got 1001"),
        (row(kept=[1000]), r"the sum of rounds\[1\]\.kept must be a whole number from 0 to 999, got 1000"),
        (row(kept=[500, 500]), r"kept must be a list of 1 entries, got \[500, 500\]"),
        (row(kept=500), r"kept must be a list of 1 entries, got 500"),
        (row(loss=float("nan")), r"loss must be .*, got nan"),
        (row(loss=float("inf")), r"loss must be .*, got inf"),
        (row(extra=1), r"rounds\[1\] must be an object of round, kept.*, got"),
        (lambda document: document["rounds"].clear(), r"rounds must be a list of 2 entries, got \[\]"),
        (lambda document: document["rounds"].append(1), r"rounds must be a list of 2 entries, got \["),
        (
            lambda document: document["chosen"].update(test=5),
            r"chosen\.test must be one of the rounds \[0, 1\], got 5",
        ),
        (
            lambda document: document["chosen"].update(val={"round": -1}),
            r"chosen\.val\.round must be one of the rounds \[0, 1\], got -1",
        ),
        (lambda document: document["prunable"].update({"x": -5}), r"prunable\.x must be .*, got -5"),
        (
            lambda document: document["data"].update(name="cifar10"),
            r"data\.name must be one of glyphs, got 'cifar10'",
        ),
        (lambda document: document["data"].pop("sha256"), r"data\.sha256 must be text, got None"),
        (lambda document: document.update(made=[]), r"made must be an object, got \[\]"),
        (
            lambda document: document.update(extra="\ud800\n" * 99),
            "unexpected keyword argument 'extra'",
        ),
    ],
)
def test_numbers_that_no_run_can_have_are_refused_by_field_and_value_under_a_fresh_seal(
    tmp_path, change, words
):
    path = records.save(record([0.3, 0.4]), str(tmp_path))

    def spoil(text):
        document = json.loads(text)
        change(document)
        return tight(document)

    resealed(path, spoil)
    with pytest.raises(Damaged, match=f"{path.name} is no record: .*{words}") as caught:
        records.read(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_number_too_large_for_a_float_is_refused(tmp_path):
    path = records.save(record([0.3]), str(tmp_path))
    resealed(path, lambda text: text.replace('"loss":0.5', '"loss":1e999', 1))

    with pytest.raises(Damaged, match="loss must be a finite number from 0 on, got inf"):
        records.read(path)


def test_a_rate_that_drops_no_weight_is_allowed(tmp_path):
    made = record([0.3, 0.4], kept=[2, 2], weights=2, rate=0.2)

    assert records.read(records.save(made, str(tmp_path))) == made


def test_a_record_under_the_name_of_another_is_refused_with_both_names(tmp_path):
    path = records.save(record([0.3]), str(tmp_path))
    copy = path.with_name("0123456789abcdef.json")
    shutil.copy(path, copy)

    with pytest.raises(
        Damaged, match=rf"{copy.name} is the record of {path.stem} under another name; remove it"
    ):
        records.load_all(str(tmp_path))


def test_a_damaged_record_counts_as_missing_by_name(tmp_path, capsys):
    made = record([0.3])
    assert not records.is_on_record(made.config, str(tmp_path))
    path = records.save(made, str(tmp_path))
    assert records.is_on_record(made.config, str(tmp_path))
    assert capsys.readouterr().out == ""

    path.write_text(path.read_text().replace('"test":300', '"test":900', 1))
    assert not records.is_on_record(made.config, str(tmp_path))
    assert f"NOTE {path.name} is damaged: SHA-256" in capsys.readouterr().out
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    assert not records.is_on_record(made.config, str(tmp_path))
    assert (
        f"NOTE {path.name} is damaged: it is no file, but a folder, pipe or broken link: it"
        in capsys.readouterr().out
    )


def test_a_record_that_the_system_refuses_is_one_sentence_and_no_missing_run(tmp_path, monkeypatch):
    path = records.save(record([0.3]), str(tmp_path))

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(NotReadable, match=rf"cannot read {path}: Permission denied"):
        records.is_on_record(record([0.3]).config, str(tmp_path))


def test_a_relative_folder_of_records_begins_at_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = record([0.3])
    path = records.save(made, "mine")

    assert path == tmp_path / "mine" / f"{made.config.key}.json"
    assert records.folders("mine") == [tmp_path / "mine"]
    assert records.shown(path) == str(Path("mine") / path.name)
    assert records.shown(records.ROOT / "book" / "runs" / "x.json") == str(Path("book") / "runs" / "x.json")
    with pytest.raises(ParameterError, match="runs must be a folder's path, got '~nobody-of-this-name'"):
        records.folders("~nobody-of-this-name")


def test_a_changed_number_is_noticed(tmp_path):
    path = records.save(record([0.3]), str(tmp_path))
    path.write_text(path.read_text().replace('"test":300', '"test":900', 1))

    with pytest.raises(Damaged, match=f"{path.name} is damaged: SHA-256 .* expected, .* found"):
        records.read(path)


def test_numbers_that_json_does_not_know_are_never_written():
    made = dataclasses.replace(record([0.3]), made={"seconds": float("nan")})

    with pytest.raises(ValueError, match="not JSON compliant"):
        made.to_json()


def test_committed_records_are_whole_and_named_by_their_keys():
    paths = sorted((records.ROOT / "book" / "runs").glob("*.json"))
    committed = {path.stem: records.read(path) for path in paths if "." not in path.stem}

    assert committed
    assert all(made.config.key == key for key, made in committed.items())
    for key, _, measure in (path.stem.partition(".") for path in paths if "." in path.stem):
        assert measures.load(committed[key].config, measure, str(paths[0].parent))
    assert all(path.stat().st_size < 50_000 for path in paths)


def test_the_first_folder_wins(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ROOT", tmp_path)
    ours = record([0.3])
    published = record([0.4])
    records.save(published, str(tmp_path / "book" / "runs"))
    records.save(ours)

    assert records.load(ours.config) == ours
    assert records.load_all() == [ours]
    assert isinstance(records.load_all()[0], Record)


def test_a_book_build_reads_published_records_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ROOT", tmp_path)
    monkeypatch.setenv("LTHNB_HOST", "book")
    records.save(record([0.3]), str(tmp_path / "runs"))

    assert records.folders() == [tmp_path / "book" / "runs"]
    assert records.load_all() == []
