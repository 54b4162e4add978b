"""What a run's networks do under every shift: what is counted, on which images, from which weights."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from helpers.pretended import pretended
from helpers.small import SMALL, make

from lthnb.config import ParameterError
from lthnb.images.dataset import DataError
from lthnb.images.shifts import CORRUPTIONS
from lthnb.images.splits import load
from lthnb.measures import measure, robustness
from lthnb.measures.finished import FinishedRun
from lthnb.training.loop import correct, predict

RUN = SMALL.replace(test_limit=30, rounds=2, rate=0.488)


@pytest.fixture(scope="module")
def run(glyphs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shifted")
    made = make(RUN, glyphs, folder)
    return FinishedRun(made, folder / RUN.key, load(glyphs, RUN.data, 0), source=glyphs)


@pytest.fixture(scope="module")
def values(run):
    return robustness.measure(run)


def test_every_kind_and_severity_is_counted_for_every_round_with_weights(values):
    assert values["rounds"] == [0, 1, 2]
    assert list(values["corrupted"]) == list(CORRUPTIONS)
    counted = np.array([*values["corrupted"].values()])
    assert counted.shape == (19, 5, 3)
    assert counted.min() >= 0 and counted.max() <= values["images"] == 30


def test_clean_images_are_the_first_of_every_class_and_counted_as_ever(run, values):
    test = run.data.test
    assert values["clean"][2] == correct(run.ticket(2).model(), run.data, test)
    assert torch.equal(robustness.test_images(run.source, 16, 30).images, test.images)


def test_corrupted_images_were_corrupted_before_they_were_made_smaller(run):
    sets = robustness.corrupted(run.source, 16, 30, "")
    stored = robustness.test_images(run.source, 32, 30)
    noisy = robustness.corrupt(stored.images, "gaussian_noise", 5)
    halves = noisy.float().reshape(30, 3, 16, 2, 16, 2).mean((3, 5))

    assert sets["gaussian_noise"][4].images.shape == (30, 3, 16, 16)
    assert (
        float((sets["gaussian_noise"][4].images - halves).abs().max()) <= 1
    )  # Pillow rounds after rows and after columns


def test_attacked_images_are_of_every_class(run):
    clean = robustness.test_images(run.source, 16, 30)

    assert clean.labels[:15].bincount(minlength=10).min() > 0


def test_attacked_images_and_natural_shifts_stand_beside(values):
    assert values["natural"]["glyphs-shifted"]["images"] == 30
    assert values["attacked"]["images"] == 15
    for name in robustness.ATTACKS:
        before = values["attacked"]["clean"]
        assert all(after <= clean for after, clean in zip(values["attacked"][name], before, strict=True))


def test_a_second_measurement_gives_the_same_counts_and_fits_a_small_file(run, values, tmp_path):
    assert robustness.measure(run) == values
    path = measure.save(RUN, "robustness", values, str(tmp_path))
    assert path.stat().st_size < 50_000
    assert measure.load(RUN, "robustness", str(tmp_path)) == json.loads(json.dumps(values))


def test_anybody_s_images_are_counted_under_a_class_map(run):
    reversed_digits = {str(digit): str(9 - digit) for digit in range(10)}
    own, right = robustness.under(run, 0, "glyphs-shifted", None)
    _, wrong = robustness.under(run, 0, "glyphs-shifted", reversed_digits)
    shift = robustness.opened("glyphs-shifted", run.source.info.classes, 16, 3, "")
    guesses = predict(run.ticket(0).model(), run.data, shift.images).argmax(1)

    assert len(guesses) == 10_000
    assert own == run.record.rounds[0]["correct"]["test"] / 30
    assert right == int((guesses == shift.labels).sum()) / 10_000
    assert wrong == int((guesses == 9 - shift.labels).sum()) / 10_000
    with pytest.raises(DataError, match="class_map leaves no image of glyphs-shifted"):
        robustness.under(run, 0, "glyphs-shifted", dict.fromkeys("0123456789", ""))
    with pytest.raises(ParameterError, match="class '9' of the shifted set"):
        robustness.under(run, 0, "glyphs-shifted", {str(digit): str(digit) for digit in range(9)})


def test_published_files_take_the_place_of_corruptions_made_here(run, monkeypatch):
    monkeypatch.setitem(robustness.NATURAL, "glyphs", ("cifar10.2",))
    images = torch.zeros(10_000, 3, 32, 32, dtype=torch.uint8)
    labels = torch.arange(10_000) % 10
    monkeypatch.setattr(robustness, "official_corruptions", lambda *_: (images, labels))
    robustness.corrupted.cache_clear()
    sets = robustness.corrupted(run.source, 16, 30, "elsewhere")
    robustness.corrupted.cache_clear()

    assert {int(split.images.max()) for severities in sets.values() for split in severities} == {0}
    assert [len(severities) for severities in sets.values()] == [5] * 19


def test_on_a_pretended_gpu_the_counts_are_the_same(run, monkeypatch):
    kinds = {kind: CORRUPTIONS[kind] for kind in ("fog", "jpeg_compression")}
    monkeypatch.setattr(robustness, "CORRUPTIONS", kinds)
    robustness.corrupted.cache_clear()
    usual = robustness.measure(run)
    with pretended():
        there = dataclasses.replace(run, data=load(run.source, RUN.data, 0, "cuda"))
        assert robustness.measure(there) == usual
    robustness.corrupted.cache_clear()
