"""The file that keeps a measure: sealed, beside its record, never read as one."""

import pytest
from helpers.made_up import record as made_up

from lthnb.config import RunConfig
from lthnb.measures import measure as measures
from lthnb.measures.finished import FinishedRun
from lthnb.measures.measure import MEASURES
from lthnb.runs import record
from lthnb.runs.files import Damaged, sealed_json
from lthnb.runs.record import MissingRun

RUN = RunConfig.of(name="glyphs", rounds=1, rate=0.5)
VALUES = {"dead": [0, 3], "norms": {"dense": [0.5]}}


def test_measures_are_those_that_are_kept_beside_records():
    assert tuple(MEASURES) == ("layers", "fair_test", "robustness")


def test_a_measure_is_kept_sealed_beside_its_record(tmp_path):
    path = measures.save(RUN, "layers", VALUES, str(tmp_path))

    assert path.name == f"{RUN.key}.layers.json"
    assert measures.load(RUN, "layers", str(tmp_path)) == VALUES
    path.write_bytes(path.read_bytes().replace(b'"dead":', b'"daed":'))
    with pytest.raises(Damaged, match=r"layers\.json is damaged"):
        measures.load(RUN, "layers", str(tmp_path))
    with pytest.raises(MissingRun, match=r"probe of .* was never measured"):
        measures.load(RUN, "probe", str(tmp_path))


def test_a_measure_of_another_run_is_refused(tmp_path):
    path = measures.save(RUN.replace(seed=1), "layers", VALUES, str(tmp_path))
    path.rename(tmp_path / f"{RUN.key}.layers.json")

    with pytest.raises(Damaged, match="is of another run or another version; remove it to measure again"):
        measures.load(RUN, "layers", str(tmp_path))


def test_a_measure_that_lacks_a_field_is_refused(tmp_path):
    config = RunConfig()
    path = tmp_path / f"{config.key}.layers.json"
    path.write_bytes(sealed_json(1, {"key": config.key, "values": {}}))

    with pytest.raises(Damaged, match="another run or another version"):
        measures.load(config, "layers", str(tmp_path))


def test_a_measure_is_not_read_as_a_record(tmp_path):
    made = made_up([0.3, 0.4])
    record.save(made, str(tmp_path))
    measures.save(made.config, "layers", VALUES, str(tmp_path))

    assert record.load_all(str(tmp_path)) == [made]


def test_a_new_measure_is_a_function_and_an_entry(tmp_path, monkeypatch):
    monkeypatch.setitem(MEASURES, "rounds", lambda run: {"rounds": len(run.record.rounds)})
    run = FinishedRun(made_up([0.3, 0.4]), tmp_path)

    assert measures.measure(run, "rounds", str(tmp_path)) == {"rounds": 2}
    assert measures.load(run.record.config, "rounds", str(tmp_path)) == {"rounds": 2}
