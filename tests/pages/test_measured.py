"""Which runs of a page a measure is about, and what is measured again."""

from helpers.made_up import record as made_up

from lthnb.pages import measured, study
from lthnb.pages.parameters import Parameters


def told(tmp_path, monkeypatch, name):
    """The runs that a measure is made of, among a ticket, a dense network and a control."""
    runs = []
    monkeypatch.setattr(measured, "PAPERS_OWN", {60: "base"})
    monkeypatch.setattr(measured, "finished_run", lambda _study, finished, _records: finished)
    monkeypatch.setattr(measured.measures, "measure", lambda run, name, runs_: runs.append(run.config) or {})
    ticket = made_up([0.1, 0.2], images=60)
    others = [made_up([0.1], images=60), made_up([0.1, 0.2], images=60, control="random")]
    page = Parameters(runs=str(tmp_path), train=True, device="cpu", profile="demo")
    found = study.Study((), "demo", {}, page)
    measured.measure(found, [ticket, *others], name)
    return runs, [ticket.config, *(other.config for other in others)]


def test_controls_and_dense_runs_are_left_out_by_most_measures(tmp_path, monkeypatch):
    runs, (ticket, *_) = told(tmp_path, monkeypatch, "fair_test")

    assert runs == [ticket]


def test_robustness_is_measured_on_every_run(tmp_path, monkeypatch):
    runs, everything = told(tmp_path, monkeypatch, "robustness")

    assert runs == everything


def test_a_page_that_may_not_train_says_what_is_missing(tmp_path):
    import pytest

    from lthnb.runs.record import MissingRun

    page = Parameters(runs=str(tmp_path), train=False)
    with pytest.raises(MissingRun, match=r"robustness of .* was never measured; pass -p train True"):
        measured.measure(study.Study((), "demo", {}, page), [made_up([0.1])], "robustness")
