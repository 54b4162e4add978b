"""Shipped tickets hold what their records say, and a file that does not is found."""

import dataclasses
import shutil

import pytest
from helpers.small import TINY, make

from lthnb import __main__
from lthnb.config import ROOT
from lthnb.runs import record
from lthnb.runs.machine import Settings
from lthnb.runs.ticket import Ticket, ticket_path
from lthnb.runs.verify import check

HERE = Settings(device="cpu")


@pytest.fixture
def shipped(glyphs, tmp_path, monkeypatch):
    """A ticket on glyphs and its record, as if both were published."""
    made = make(TINY, glyphs, tmp_path)
    monkeypatch.setattr(record, "folders", lambda runs="": [tmp_path])
    path = tmp_path / "ticket.safetensors"
    shutil.copy(ticket_path(tmp_path / TINY.key, 1), path)
    return made, path


def replaced(made, path, **row):
    """Write the same record with another last row."""
    rows = [*made.rounds[:-1], {**made.rounds[-1], **row}]
    (path.parent / f"{made.config.key}.json").unlink()
    record.save(dataclasses.replace(made, rounds=rows), str(path.parent))


def test_a_ticket_that_holds_is_told_with_its_counts(shipped):
    made, path = shipped
    result = check(path, HERE)
    right = made.rounds[1]["correct"]["test"]

    assert result.holds
    assert f"holds, {right} of 50 test images right, {right} on record (the same machine)" in result.line


def test_another_count_on_the_same_device_differs(shipped):
    made, path = shipped
    row = made.rounds[1]
    more = row["correct"]["test"] + 1
    *before, last = row["curve"]["correct"]
    curve = {**row["curve"], "correct": [*before, {**last, "test": more}]}
    replaced(made, path, correct={**row["correct"], "test": more}, curve=curve)

    assert not check(path, HERE).holds
    assert "DIFFERS" in check(path, HERE).line


def test_other_masks_than_the_record_says_are_found(shipped):
    made, path = shipped
    kept = made.rounds[1]["kept"]
    replaced(made, path, kept=[kept[0] - 1, kept[1] + 1, *kept[2:]])

    result = check(path, HERE)
    assert not result.holds
    assert result.line.endswith("its masks keep other numbers of weights than the record says")


def test_a_damaged_ticket_and_one_without_record_do_not_hold(shipped, tmp_path):
    _, path = shipped
    ticket = Ticket.load(path)
    orphan = tmp_path / "orphan.safetensors"
    dataclasses.replace(ticket, about={**ticket.about, "key": "0" * 16}).save(orphan)
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    assert "is damaged" in check(path, HERE).line
    assert not check(path, HERE).holds
    assert "the record 0000000000000000 is not here" in check(orphan, HERE).line
    assert not check(orphan, HERE).holds


def test_the_command_ends_with_one_if_any_does_not_hold(shipped):
    _, path = shipped
    assert __main__.main(["verify", str(path), "--device", "cpu"]) == 0
    path.write_bytes(b"nothing")
    assert __main__.main(["verify", str(path), "--device", "cpu"]) == 1


def test_the_tickets_of_the_book_hold(real_images):
    settings = Settings(data_root=str(real_images("cifar10_exact").parent), device="cpu")
    for path in (ROOT / "book" / "tickets").glob("*.safetensors"):
        result = check(path, settings)
        assert result.holds and "on record" in result.line, result.line


def test_without_its_images_a_ticket_is_checked_as_far_as_it_goes(tmp_path):
    path = next((ROOT / "book" / "tickets").glob("*.safetensors"))
    result = check(path, Settings(data_root=str(tmp_path), device="cpu"))

    assert result.holds and "whole, not evaluated, since neither a folder nor a tar archive" in result.line
