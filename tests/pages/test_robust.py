"""Robustness on a page: the line of dense networks, residuals, names, the registered rule."""

import numpy as np
import pandas as pd
import pytest
from helpers import made_up
from scipy.special import expit, logit

from lthnb.pages import own_shift, robust, robust_figures, robust_tables, stats


def measured(record, clean, corrupted):
    """A measure of 1,000 images whose accuracies are given, one a round; every corruption alike."""
    right = [round(1000 * value) for value in corrupted]
    rounds = [row["round"] for row in record.rounds]
    return {
        "rounds": rounds,
        "precision": "fp32",
        "test": right,
        "published": False,
        "images": 1000,
        "clean": [round(1000 * value) for value in clean],
        "corrupted": {"fog": [right] * 5, "snow": [right] * 5},
        "natural": {"folder:other@abc": {"sha256": "x", "images": 500, "correct": [100] * len(rounds)}},
        "attacked": {"images": 100, "clean": [30] * len(rounds), "FGSM 8/255": [5] * len(rounds)},
    }


def page():
    """Six seeds: dense at 20-25 and 40-45 %, tickets two points above the line, strong tickets on it."""
    records, measures = [], {}
    on_line = lambda clean: float(expit(-0.2 + 0.9 * logit(clean)))  # noqa: E731
    usual = {"augment": "rand+cutout", "epochs": 20, "batch_size": 50, "lr": 0.1, "width": 16}
    tuned = {**usual, "batch_size": 25, "lr": 0.003, "weight_decay": 5e-3, "epochs": 80}
    for seed in range(6):
        dense, ticket, strong = 0.2 + seed / 100, 0.3 + seed / 100, 0.4 + seed / 100
        pair = made_up.record([dense, ticket], seed=seed, images=500, **usual)
        measures[pair.config.key] = measured(pair, [dense, ticket], [on_line(dense), on_line(ticket) + 0.02])
        best = made_up.record([strong], seed=seed, images=500, **tuned)
        measures[best.config.key] = measured(best, [strong], [on_line(strong)])
        more = made_up.record([strong + 0.1], seed=seed, images=2000, **usual)
        measures[more.config.key] = measured(more, [strong + 0.1], [on_line(strong + 0.1)])
        records += [pair, best, more]
    return records, measures


@pytest.fixture(scope="module")
def shown():
    return robust.shifted(*page())


def test_networks_have_their_names_and_others_are_only_compared_with(shown):
    names = shown.groupby("network")["key"].nunique().to_dict()

    assert names == {"dense": 6, "ticket": 6, "strong dense": 6, "other dense": 6}
    assert set(shown["size"]) == {500}
    assert shown["shift"].value_counts().to_dict() == {"corruption": 240, "natural": 24, "attack": 24}


def test_the_line_goes_through_dense_networks_and_a_residual_is_what_is_above(shown):
    means = robust.networks(shown)
    residuals = means.groupby("network")["residual"].mean()

    assert residuals["ticket"] == pytest.approx(2, abs=0.1)
    assert residuals[["dense", "strong dense", "other dense"]].abs().max() < 0.1


def test_too_few_dense_networks_make_no_line(shown):
    means = robust.networks(shown[shown["seed"] == 0].query("network != 'other dense'"))

    assert means["residual"].isna().all()


def test_the_numbers_of_the_page_are_those_of_the_networks(shown):
    numbers = robust.numbers(shown, "demo")

    assert numbers["dense_clean"] == pytest.approx(22.5)
    assert numbers["meaning"] == "more robust than its accuracy explains"
    assert (numbers["kinds_over_dense"], numbers["kinds_over_strong_dense"]) == (2, 0)
    assert numbers["n"] == 6 and numbers["line"] == 18
    assert all(type(value) in (int, float, str) for value in numbers.values())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([2.0, 2.1, 1.9, 2.0, 2.2, 1.8], "more robust than its accuracy explains"),
        ([0.5, 0.6, 0.4, 0.5, 0.5, 0.5], "more robust than its accuracy explains, by less than a point"),
        (
            [-0.5, -0.6, -0.4, -0.5, -0.5, -0.5],
            "less robust than its accuracy explains, by less than a point",
        ),
        ([0.5, -0.5, 0.4, -0.4, 0.3, -0.3], "only more accurate"),
        ([3.0, -3.0, 2.0, -2.0, 1.0, 0.0], "open"),
        ([2.0, 2.1, 1.9], "open"),
    ],
)
def test_the_registered_rule(values, words):
    assert robust.meaning(stats.interval(values)) == words


def test_tables_tell_every_registered_quantity_shift_and_network(shown):
    means = robust.networks(shown)
    registered = robust_tables.registered(means)
    accuracies = robust_tables.accuracies(means)
    others = robust_tables.other_shifts(shown)

    assert list(registered["registered"]) == ["primary"] + ["secondary"] * 4
    assert list(registered["seeds"]) == [6, 0, 6, 6, 6]
    assert set(accuracies["network"]) == {"dense", "ticket", "strong dense", "other dense"}
    assert list(others["shift"]) == ["folder:other", "FGSM 8/255"]
    assert others["strong ticket"].tolist() == ["-", "-"]
    assert others["dense"][1].startswith("30.0 to 5.0")


def test_a_table_without_runs_is_empty_and_figures_bear_it(shown):
    import matplotlib as mpl

    mpl.use("Agg")
    few = shown[(shown["network"] == "ticket") & (shown["seed"] < 2)]
    for data in (shown, few):
        assert robust_figures.kinds(data, 500).get_xlabel() == "accuracy (%)"
        assert robust_figures.matched(robust.networks(data), 500).lines
        assert robust_figures.severities(data, 500).lines


def test_no_right_answers_and_all_of_them_break_no_line(shown):
    extreme = shown.copy()
    extreme.loc[extreme["seed"] == 0, ["clean", "accuracy"]] = 1.0
    extreme.loc[extreme["seed"] == 1, ["clean", "accuracy"]] = 0.0

    assert robust.networks(extreme)["residual"].notna().all()


def test_where_no_kind_costs_anything_there_are_none_to_look_at_apart(shown):
    easy = shown.assign(accuracy=shown["clean"])
    numbers = robust.numbers(easy, "demo")

    assert numbers["costly"] == 0 and np.isnan(numbers["costly_residual"])
    assert numbers["cost"] == pytest.approx(0)


def test_published_corruptions_and_ours_do_not_mix():
    records, measures = page()
    next(iter(measures.values()))["published"] = True

    with pytest.raises(ValueError, match="do not belong on one page"):
        robust.shifted(records, measures)


def test_networks_trained_with_advprop_are_on_no_line():
    records, measures = page()
    trained = made_up.record([0.5], images=500, augment="rand+cutout", objective="advprop", norm="dual")
    measures[trained.config.key] = measured(trained, [0.5], [0.1])
    shown = robust.shifted([*records, trained], measures)

    assert set(shown["network"]) == {"dense", "ticket", "strong dense", "other dense", "advprop dense"}
    assert robust.networks(shown).query("network == 'ticket'")["residual"].mean() == pytest.approx(2, abs=0.1)


def test_kinds_are_told_by_severity(shown):
    table = robust_tables.kinds(shown, 500)

    assert list(table["corruption"]) == ["fog", "snow"]
    assert len(table["ticket, severity 1 to 5 (%)"][0].split()) == 5
    assert table["residual of strong ticket"][0] == "-"


def test_samples_are_a_strip_of_three_for_every_corruption():
    figure = robust_figures.samples()

    assert [len(ax.images) for ax in figure.axes] == [1] * 20
    assert figure.axes[1].images[0].get_array().shape == (32, 3 * 34, 3)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [("", None), ("kitten=cat", {"kitten": "cat"}), ("a=b, c=", {"a": "b", "c": ""})],
)
def test_a_class_map_is_read_from_pairs(text, pairs):
    assert own_shift.mapped(text) == pairs


def test_residuals_need_no_pandas_order(shown):
    shuffled = shown.sample(frac=1, random_state=0)
    first, second = (robust.networks(data).sort_values(["key", "round"]) for data in (shown, shuffled))

    assert np.allclose(first["residual"], second["residual"])
    assert isinstance(first, pd.DataFrame)
