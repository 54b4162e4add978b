"""What pages print: one fact a line, checked against records one can compute by eye."""

import made_up
import pytest

from lthnb import stats, tables


def group(dense, ticket, **config):
    """Three seeds whose accuracies differ by a point."""
    config = {"images": 500, "epochs": 20, "batch_size": 50, **config}
    return [
        made_up.record([dense + seed / 100, ticket + seed / 100], seed=seed, **config) for seed in range(3)
    ]


def test_the_gain_table_has_a_line_for_each_size_and_augmentation():
    base = group(0.2, 0.3)
    for record in base:
        record.rounds[0]["correct"]["train"] = 400  # of 500, and all of them in round 1
    lines = tables.gain_table(base + group(0.25, 0.3, augment="rand+cutout")).splitlines()

    assert lines[0].split() == "images augment n dense % at % ticket % gain train val % gain".split()
    shown = "500 base 3 21.0 ± 2.5 50.0 31.0 ± 2.5 10.0 ± 0.0 20.0 50.0 10.0"
    assert lines[1].split() == shown.split()
    assert lines[2].split()[1:3] == ["rand+cutout", "3"]


def test_a_gain_table_of_two_data_sets_is_refused():
    with pytest.raises(ValueError, match="2 different data sets"):
        tables.gain_table(group(0.2, 0.3) + group(0.2, 0.3, sha256="bb"))


def controls():
    records = group(0.20, 0.30)
    for control, value in (("random", 0.22), ("shuffled", 0.24), ("reinit", 0.26)):
        records += group(value, value, control=control)
    small = group(0.21, 0.21, widths="2-4-8-16")
    for made in small:
        made.prunable.update({"stem.0.weight": 500})
    return records + small


def test_contrasts_are_paired_with_the_ticket_at_its_round():
    found = {name: round(values[0], 6) for name, values in stats.contrasts(controls(), 500).items()}

    assert found == {
        "dense": 10, "small dense": 9, "random masks": 8, "shuffled in layers": 6, "reinitialised": 4,
        "small dense - dense": 1,
    }  # fmt: skip
    lines = tables.contrast_table(controls(), 500).splitlines()
    assert lines[3].split() == "random masks 3 8.0 ± 0.0".split()
    assert lines[-1].split() == "(small dense - dense) 3 1.0 ± 0.0".split()


def test_the_size_table_shows_weights_and_work():
    lines = tables.size_table(controls()).splitlines()

    assert lines[1].split() == "dense 1,000 100.00 100.00".split()
    assert [line.split()[:2] for line in lines[2:]] == [["ticket,", "round"], ["small", "dense"]]
    assert lines[3].split()[-3:] == ["500", "50.00", "50.00"]


def test_the_interaction_is_the_difference_of_gains():
    assert stats.interaction(group(0.2, 0.3), group(0.2, 0.35)) == pytest.approx([5, 5, 5])


def test_the_equal_size_is_read_off_a_log_scale():
    assert stats.equal_size([100, 1000, 10_000], [0.2, 0.3, 0.4], 0.35) == pytest.approx(1000 * 10**0.5)
    assert stats.equal_size([100, 1000], [0.2, 0.3], 0.5) == float("inf")
    assert stats.equal_size([100, 1000], [0.2, 0.3], 0.1) == pytest.approx(100)


def test_tau_is_taken_within_a_seed():
    records = []
    for seed in range(2):
        for images, best in ((500, 2), (1000, 1)):
            val = [0.1, 0.2, 0.2]
            val[best] = 0.5
            records.append(made_up.record([0.2, 0.3, 0.3], val, seed=seed, images=images))

    assert stats.density_taus(records) == [1, 1]  # denser with more images
    assert stats.defined_mean([1, float("nan"), 0]) == 0.5


def test_groups_and_picks_are_in_the_order_of_seeds():
    records = group(0.2, 0.3)[::-1] + group(0.2, 0.3, augment="rand")

    assert [made.config.seed for made in stats.pick(records, augment="base")] == [0, 1, 2]
    assert list(stats.grouped(records, "augment", "images")) == [("base", 500), ("rand", 500)]
