"""One run: its tickets, its record, and the two runs of a small set."""

import dataclasses

import pytest
from conftest import opened
from helpers import small
from helpers.small import SMALL, TINY, make

from lthnb.images.dataset import DataError
from lthnb.runs import choice, record
from lthnb.runs.execute import execute
from lthnb.runs.files import NotWritable
from lthnb.runs.record import MissingRun
from lthnb.runs.ticket import Ticket, ticket_path
from lthnb.training.imp import epoch_spans, epochs_done


@pytest.fixture
def pair(image_folder, tmp_path):
    """A refit, the run that chose its round, and their folder."""
    source = opened(image_folder({"cat": 30, "dog": 30}))
    refit = TINY.replace(name=source.info.name, split="refit", images=60, rounds=2)
    made = make(refit, source, tmp_path / "runs")
    return made, record.load(refit.requires, str(tmp_path / "runs")), tmp_path / "runs"


def test_a_refit_trains_on_all_images_and_takes_val_from_the_run_that_chose(pair):
    refit, choosing, _ = pair

    assert [row["total"]["train"] for row in refit.rounds] == [60, 60, 60]
    assert [row["total"]["train"] for row in choosing.rounds] == [36, 36, 36]
    assert [row["total"]["val"] for row in refit.rounds] == [24, 24, 24]
    assert [row["correct"]["val"] for row in refit.rounds] == [
        row["correct"]["val"] for row in choosing.rounds
    ]
    assert refit.chosen["val"] == choosing.chosen["val"]


def test_a_refit_keeps_the_weights_of_the_round_that_was_chosen_before(pair):
    refit, choosing, folder = pair
    shifted = {choice.nearest_round(published, refit.density) for published in choice.SHIFTED_ROUNDS}
    wanted = {0, choice.paper_round(60, refit.density), choice.val_round(choosing)} | shifted
    for row in refit.rounds:
        states = Ticket.load(ticket_path(folder / refit.config.key, row["round"])).states
        assert bool(states) == (row["round"] in wanted)


def test_a_refit_without_the_run_that_chooses_says_which_is_missing(image_folder, tmp_path):
    source = opened(image_folder({"cat": 30, "dog": 30}))
    refit = TINY.replace(name=source.info.name, split="refit", images=60)

    with pytest.raises(MissingRun, match=rf"choosing a round, seed 0 \({refit.requires.key}\.json\) is not"):
        list(execute(refit, source, small.on_cpu(tmp_path)))


def test_a_run_is_not_made_on_other_images_than_it_names(glyphs, tmp_path):
    with pytest.raises(DataError, match=r"is a run on digits, the images are glyphs"):
        list(execute(TINY.replace(name="digits"), glyphs, small.on_cpu(tmp_path)))


def test_a_ticket_that_looked_best_for_a_while_keeps_its_masks_alone(glyphs, tmp_path):
    made = make(SMALL, glyphs, tmp_path)
    shifted = {choice.nearest_round(published, made.density) for published in choice.SHIFTED_ROUNDS}
    wanted = {0, choice.ticket_round(made), choice.val_round(made)} | shifted
    for row in made.rounds:
        ticket = Ticket.load(ticket_path(tmp_path / SMALL.key, row["round"]))
        assert set(ticket.states) == ({"rewind", "trained"} if row["round"] in wanted else set())
        assert sum(int(mask.sum()) for mask in ticket.masks.values()) == sum(row["kept"])


def test_a_run_without_prunings_keeps_no_rewind_weights(glyphs, tmp_path):
    config = TINY.replace(rounds=0)
    made = make(config, glyphs, tmp_path)
    ticket = Ticket.load(ticket_path(tmp_path / config.key, 0))

    assert made.chosen["val"] is None
    assert made.density == [1.0]
    assert set(ticket.states) == {"rewind", "trained"}  # of epoch 1, as before: they cost nothing to keep


def test_a_row_tells_counts_losses_and_seconds_of_its_round(glyphs, tmp_path):
    made = make(TINY.replace(evaluate_last=2), glyphs, tmp_path)
    for row, epochs in zip(made.rounds, (2, 1), strict=True):
        assert len(row["curve"]["loss"]) == epochs
        assert row["loss"] == row["curve"]["loss"][-1]
        assert [list(one) for one in row["curve"]["correct"]][-1] == ["epochs", "train", "val", "test"]
        assert row["total"] == {"train": 60, "val": 50, "test": 50}
        assert row["correct"]["test"] == row["curve"]["correct"][-1]["test"]
        assert set(row["seconds"]) == {"train", "evaluate"}
    assert made.data["counts"]["train"] == [6] * 10
    assert made.made["step"] == "eager"


def test_epochs_done_count_the_trainings_before():
    assert epoch_spans(SMALL)[2] == (2, 4)
    assert [epochs_done(SMALL, *where) for where in ((0, 1), (0, 4), (1, 3), (2, 4), (3, 4))] == [
        1,
        4,
        5,
        8,
        10,
    ]


def test_a_damaged_record_is_set_aside_and_the_run_is_made_again(glyphs, tmp_path, capsys):
    made = make(TINY, glyphs, tmp_path)
    path = tmp_path / f"{TINY.key}.json"
    for again, content in enumerate((b"half", b"another half")):
        path.write_bytes(content)
        capsys.readouterr()
        second = make(TINY, glyphs, tmp_path, again=bool(again))
        assert second.rounds[1]["correct"] == made.rounds[1]["correct"]
        aside = path.with_name(f"{path.name}.damaged{again or ''}")
        assert f"NOTE {path.name} is set aside as {aside.name}: " in capsys.readouterr().out
        assert aside.read_bytes() == content
    path.unlink()
    path.mkdir()
    make(TINY, glyphs, tmp_path)
    assert (tmp_path / f"{path.name}.damaged2").is_dir()


def test_a_ticket_that_is_lost_while_a_run_is_at_work_is_told_at_its_end(glyphs, tmp_path, capsys):
    folder = tmp_path / SMALL.key
    for _ in execute(SMALL, glyphs, small.on_cpu(tmp_path)):
        if ticket_path(folder, 2).exists():
            ticket_path(folder, 0).unlink(missing_ok=True)
            ticket_path(folder, 1).write_bytes(b"half")
    said = capsys.readouterr().out

    assert record.load(SMALL, str(tmp_path)).rounds
    assert "NOTE round-01.safetensors is set aside as round-01.safetensors.damaged: a ticket of" in said
    assert (
        f"NOTE the tickets of rounds [0, 1] of {SMALL.key} were lost while it ran; remove {SMALL.key}" in said
    )
    (tmp_path / f"{SMALL.key}.json").unlink()
    make(SMALL, glyphs, tmp_path)
    assert ticket_path(folder, 0).exists() and ticket_path(folder, 1).exists()
    assert "lost" not in capsys.readouterr().out


def test_a_ticket_that_is_a_link_is_read_and_its_target_is_never_written(glyphs, tmp_path):
    make(SMALL, glyphs, tmp_path)
    folder = tmp_path / SMALL.key
    elsewhere = tmp_path / "elsewhere"
    ticket_path(folder, 0).rename(elsewhere)
    before = elsewhere.read_bytes()
    ticket_path(folder, 0).symlink_to(elsewhere)
    ticket_path(folder, 1).unlink()
    ticket_path(folder, 1).symlink_to(tmp_path / "nowhere")
    make(SMALL, glyphs, tmp_path, again=True)

    assert elsewhere.read_bytes() == before == ticket_path(folder, 0).read_bytes()
    assert not ticket_path(folder, 0).is_symlink() and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(("side", "precision"), [(4, "fp32"), (8, "bf16")])
def test_images_below_eight_pixels_are_computed_in_fp32_and_the_record_says_so(
    glyphs, tmp_path, capsys, side, precision
):
    made = make(TINY.replace(side=side), glyphs, tmp_path, precision="bf16")

    assert made.made["precision"] == precision
    told = "NOTE images of 4 pixels are computed in fp32, bf16 needs 8" in capsys.readouterr().out
    assert told == (precision == "fp32")


@pytest.mark.parametrize("name", ["diverged.json", "lock", "round-00.safetensors"])
def test_a_folder_in_the_place_of_a_file_of_a_run_is_one_sentence(glyphs, tmp_path, name):
    (tmp_path / TINY.key / name / "inner").mkdir(parents=True)

    with pytest.raises(NotWritable, match=rf"cannot write .*{TINY.key}.*{name}: .*; mend or remove it"):
        make(TINY, glyphs, tmp_path)


def test_nobody_expects_a_captured_step_of_a_cpu(glyphs, tmp_path):
    settings = dataclasses.replace(small.on_cpu(tmp_path), captured=True)

    assert list(execute(TINY, glyphs, settings)) == [1, 2, 3]


def test_a_control_of_a_ticket_that_was_found_on_other_images_is_refused(glyphs, tmp_path):
    small.make(TINY, glyphs, tmp_path)
    other = dataclasses.replace(glyphs, info=dataclasses.replace(glyphs.info, sha256="0" * 64))

    with pytest.raises(DataError, match=f"{TINY.key}.json was made on another version of glyphs"):
        list(execute(TINY.replace(control="random"), other, small.on_cpu(tmp_path)))
