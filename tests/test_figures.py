import matplotlib as mpl
import pytest
from made_up import record

mpl.use("Agg")

import matplotlib.pyplot as plt

from lthnb import figures


@pytest.fixture(autouse=True)
def clean():
    figures.use_style()
    yield
    plt.close("all")


RUNS = [record([0.3, 0.4, 0.35], seed=0), record([0.32, 0.41, 0.36], seed=1)]


@pytest.mark.parametrize(
    "plot", [figures.accuracy_by_density, figures.loss_by_epoch, figures.density_by_layer]
)
@pytest.mark.parametrize("runs", [RUNS, RUNS[:1], [record([0.3])]])
def test_axes_carry_labels_and_units(plot, runs):
    axes = plot(runs)
    axes.figure.canvas.draw()

    assert axes.get_ylabel()
    assert "(%)" in axes.get_ylabel() + axes.get_xlabel() or "loss" in axes.get_ylabel()


def test_the_line_is_the_mean_over_seeds():
    line = figures.accuracy_by_density(RUNS).get_lines()[0]

    assert line.get_ydata() == pytest.approx([31, 40.5, 35.5])
    assert line.get_color() == figures.TICKET


def test_provenance_names_every_record():
    text = figures.provenance(RUNS)

    assert all(run.config.key in text for run in RUNS)
    assert "time: train 6 s, evaluation 3 s" in text


def group(dense, ticket, **config):
    return [record([dense + seed / 100, ticket], seed=seed, images=500, **config) for seed in range(3)]


def page_of_controls():
    small = group(0.2, 0.2, widths="2-4-8-16")
    for made in small:
        made.prunable.update({"stem.0.weight": 500})
    controls = [made for name in ("random", "shuffled", "reinit") for made in group(0.2, 0.2, control=name)]
    return group(0.2, 0.3) + controls + small


@pytest.mark.parametrize(
    "plot", [figures.dense_and_ticket, figures.accuracy_by_size, figures.controls_by_density]
)
def test_figures_of_the_findings_refuse_records_of_two_data_sets(plot):
    records = page_of_controls()
    with pytest.raises(ValueError, match="2 different data sets"):
        plot(records + group(0.2, 0.3, sha256="bb"), plt.figure().gca())
    axes = plot(records, plt.figure().gca())
    assert "%" in axes.get_ylabel() and axes.get_xlabel()


def test_controls_are_orange_and_the_small_dense_network_stands_at_its_density():
    axes = figures.controls_by_density(page_of_controls(), plt.figure().gca())
    lines = {line.get_label(): line for line in axes.lines}

    for name in ("random masks", "shuffled in layers", "reinitialised", "small dense"):
        assert lines[name].get_color() == figures.CONTROL
    assert list(lines["small dense"].get_xdata()) == [0.5]
    assert lines["ticket, test"].get_color() == figures.TICKET


def test_the_size_axis_shows_images_and_steps():
    records = [record([0.2, 0.3], images=images, epochs=20, batch_size=50) for images in (500, 1000)]
    axes = figures.accuracy_by_size(records, plt.figure().gca())

    assert [label.get_text() for label in axes.get_xticklabels()] == ["500\n200", "1,000\n400"]


def test_the_layers_of_a_ticket_stand_beside_their_nulls():
    measure = {"round": 1, "null": {"init": [[1000], [400]], "rewind": [[1000], [450]]}}
    records = [record([0.2, 0.3])]
    axes = figures.density_by_layer(records, [measure], 1, plt.figure().gca())

    assert axes.get_yscale() == "log"
    assert {line.get_label() for line in axes.lines} >= {"by init weights", "by rewind weights"}
    assert figures.density_by_part(records, plt.figure().gca()).get_ylabel() == "density of the part (%, log)"


def test_overlaps_are_drawn_beside_chance():
    shares = {"masks by init weights": [1.5, 1.6], "tickets, 500 and 1,000 images": [3.0, 3.2]}
    axes = figures.shared_over_chance(shares, plt.figure().gca())

    names = [label.get_text().replace("\n", " ") for label in axes.get_xticklabels()]
    assert names == list(shares)
    assert any(list(line.get_ydata()) == [1, 1] for line in axes.lines)
