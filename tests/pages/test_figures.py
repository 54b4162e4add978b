import matplotlib as mpl
import pandas as pd
import pytest
from helpers import made_up
from helpers.made_up import group, record

mpl.use("Agg")

import matplotlib.pyplot as plt

from lthnb.pages import figures
from lthnb.pages.frame import frame


@pytest.fixture(autouse=True)
def clean():
    figures.use_style()
    yield
    plt.close("all")


RUNS = [record([0.3, 0.4, 0.35], seed=0), record([0.32, 0.41, 0.36], seed=1)]


@pytest.mark.parametrize("plot", [figures.loss_by_epoch, figures.density_by_layer])
@pytest.mark.parametrize("runs", [RUNS, RUNS[:1], [record([0.3])]])
def test_axes_carry_labels_and_units(plot, runs):
    axes = plot(runs)
    axes.figure.canvas.draw()

    assert "(%)" in axes.get_ylabel() or "loss" in axes.get_ylabel()


@pytest.mark.parametrize("runs", [RUNS, RUNS[:1], [record([0.3])]])
def test_accuracy_is_drawn_against_density_both_in_percent(runs):
    axes = figures.accuracy_by_density(frame(runs))
    axes.figure.canvas.draw()

    assert axes.get_ylabel() == "accuracy (%)"
    assert axes.get_xlabel() == "density (% of weights kept, log)"


def test_the_line_is_the_mean_over_seeds():
    line = figures.accuracy_by_density(frame(RUNS)).get_lines()[0]

    assert line.get_ydata() == pytest.approx([31, 40.5, 35.5])
    assert list(line.get_xdata()) == [1, 0.5, 0.25]
    assert line.get_color() == figures.TICKET


def test_the_strong_dense_network_is_a_dashed_line():
    strong = frame([record([0.33], images=500), record([0.35], seed=1, images=500)])
    lines = {line.get_label(): line for line in figures.accuracy_by_density(frame(RUNS), strong=strong).lines}

    assert lines["strong dense, test"].get_ydata()[0] == pytest.approx(34)
    assert lines["strong dense, test"].get_linestyle() == "--"


def test_a_split_without_images_is_left_out():
    made = record([0.3, 0.4])
    for row in made.rounds:
        row["total"]["val"] = 0

    assert {line.get_label() for line in figures.accuracy_by_density(frame([made])).lines} >= {"ticket, test"}
    assert "ticket, val" not in {line.get_label() for line in plt.gca().lines}


def no_strong(plot):
    """A figure that has room for strong dense networks, without any."""
    return lambda data, ax: plot(data, frame([]), ax)


@pytest.mark.parametrize(
    ("plot", "records"),
    [
        (no_strong(figures.dense_and_ticket), group(0.2, 0.3)),
        (figures.accuracy_by_size, group(0.2, 0.3)),
        (no_strong(figures.controls_by_density), made_up.controls()),
    ],
)
def test_figures_of_the_findings_refuse_records_of_two_data_sets(plot, records):
    with pytest.raises(ValueError, match="2 different data sets"):
        plot(frame(records + group(0.2, 0.3, sha256="bb")), plt.figure().gca())
    axes = plot(frame(records), plt.figure().gca())
    assert "%" in axes.get_ylabel() and axes.get_xlabel()


def test_controls_are_orange_and_the_small_dense_network_stands_at_its_density():
    axes = figures.controls_by_density(frame(made_up.controls()), frame([]), plt.figure().gca())
    lines = {line.get_label(): line for line in axes.lines}

    for name in ("random masks", "shuffled in layers", "reinitialised", "small dense"):
        assert lines[name].get_color() == figures.CONTROL
    assert list(lines["small dense"].get_xdata()) == [0.5]
    assert list(lines["small dense"].get_ydata()) == pytest.approx([22])
    assert lines["ticket, test"].get_color() == figures.TICKET


def test_every_augmentation_has_its_place_and_its_pairs():
    data = frame(group(0.2, 0.3, augment="rand") + group(0.25, 0.3))
    strong = frame([record([0.33], images=500, augment="rand")])
    axes = figures.dense_and_ticket(data, strong, plt.figure().gca())

    assert [label.get_text() for label in axes.get_xticklabels()] == ["base", "rand"]
    pairs = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert len(pairs) == 6
    assert list(pairs[0].get_ydata()) == pytest.approx([25, 30])


def test_the_size_axis_shows_images_and_steps():
    records = [record([0.2, 0.3], images=images, epochs=20, batch_size=50) for images in (500, 1000)]
    axes = figures.accuracy_by_size(frame(records), plt.figure().gca())

    assert [label.get_text() for label in axes.get_xticklabels()] == ["500\n200", "1,000\n400"]
    assert list(axes.lines[1].get_ydata()) == [30, 30]


def test_the_layers_of_a_ticket_stand_beside_their_nulls():
    made = record([0.2, 0.3, 0.4])
    measures = {made.config.key: {"round": 1, "null": {"init": [[1000], [400]], "rewind": [[1000], [450]]}}}
    axes = figures.density_by_layer([made], measures, plt.figure().gca())
    lines = {line.get_label(): line for line in axes.lines}

    assert axes.get_yscale() == "log"
    assert list(lines["by init weights"].get_ydata()) == [40]
    assert list(lines["by rewind weights"].get_ydata()) == [45]
    assert lines["whole network"].get_color() == figures.DENSE
    assert axes.patches[0].get_height() == 50


def test_parts_are_drawn_by_round():
    axes = figures.density_by_part([record([0.2, 0.3])], plt.figure().gca())

    assert axes.get_ylabel() == "density of the part (%, log)"
    assert list(axes.lines[0].get_ydata()) == [100, 50]


def test_overlaps_are_drawn_beside_chance():
    names = ["masks by init weights", "tickets, 500 and 1,000 images"]
    rows = [(names[0], 0, 1.5), (names[1], 0, 3.0), (names[0], 1, 1.6), (names[1], 1, 3.2)]
    axes = figures.shared_over_chance(pd.DataFrame(rows, columns=["masks", "seed", "ratio"]))

    assert [label.get_text() for label in axes.get_xticklabels()] == names
    assert any(list(line.get_ydata()) == [1, 1] for line in axes.lines)
    assert list(axes.lines[0].get_ydata()) == [1.5, 1.6]
