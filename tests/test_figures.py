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
