import dataclasses
import json
import re

import pytest
from helpers.made_up import record

from lthnb.config import RunConfig
from lthnb.measures import measure as measures
from lthnb.runs import record as records
from lthnb.runs.files import UNSEALED, Damaged, seal
from lthnb.runs.record import MissingRun, Record


def tight(document):
    return json.dumps(document, separators=(",", ":"))


def test_a_record_survives_its_file(tmp_path):
    made = record([0.3, 0.4])
    path = records.save(made, str(tmp_path))

    assert path.name == f"{made.config.key}.json"
    assert records.load(made.config, str(tmp_path)) == made
    assert path.stat().st_size < 50_000


def test_density_and_accuracy_are_computed_from_counts():
    made = record([0.3, 0.4])

    assert made.density == [1.0, 0.5]
    assert made.accuracy("test") == [0.3, 0.4]


def test_an_empty_split_has_no_accuracy():
    made = record([0.3])
    made.rounds[0]["total"]["val"] = 0

    assert str(made.accuracy("val")) == "[nan]"


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
    opened = re.sub('"seal":"[0-9a-f]{64}"', f'"seal":"{UNSEALED}"', path.read_text(), count=1)
    path.write_bytes(seal(spoil(opened).encode()))

    with pytest.raises(Damaged, match=f"{path.name} is no record"):
        records.read(path)


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
        assert measures.load(committed[key].config, measure, "book/runs")
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
