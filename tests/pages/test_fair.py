"""The registered comparison: its arms come from the settings alone, its words from the registered rule."""

import dataclasses
import math

import pytest
from helpers import made_up, small
from helpers.small import TINY

from lthnb import experiments
from lthnb.config import RunConfig
from lthnb.pages import explored, fair, stats
from lthnb.pages.frame import frame, pick
from lthnb.runs.record import load_all
from lthnb.schedules import CHOSEN, RATES, STRONG, rates, scheduled, times

DEMO = {"width": 16, "epochs": 20, "batch_size": 50, "rate": 0.488}
PUBLISHED = load_all("book/runs")


def retrained(value, control, seeds=6, **config):
    """Runs of a control trained at round 1 alone."""
    group = made_up.group(value, value, seeds, **DEMO | config, control=control)
    return [dataclasses.replace(made, rounds=made.rounds[1:]) for made in group]


def neighbours(seeds=6):
    """Runs that are no arm of the test, each near to one in all but one field."""
    strong = CHOSEN["demo"] | {"epochs": 80}
    for change in (
        {"widths": "2-4-8-16"},  # small dense: an arm of its own
        {"lr": 0.03},
        {"epochs": 120, "cycles": 6},
        {"epochs": 320},
        {"batch_size": 50},
    ):
        config = DEMO | strong | change
        yield from (made_up.record([0.9], seed=seed, images=500, **config) for seed in range(seeds))


def arms(seeds=6):
    """Dense and ticket, tuned and strong; a few arms of others."""
    tuned = CHOSEN["demo"]
    strong = tuned | {"epochs": 80}
    dense = [made_up.record([0.35 + s / 100], seed=s, images=500, **DEMO | strong) for s in range(seeds)]
    return [
        *made_up.group(0.20, 0.30, seeds, **DEMO),
        *made_up.group(0.27, 0.31, seeds, **DEMO | tuned),
        *dense,
        *retrained(0.36, "retrained", seeds, **strong, found_epochs=20),
        *retrained(0.22, "shuffled", seeds),
        *retrained(0.33, "retrained", seeds, lr=0.03, epochs=80, found_lr=0.1, found_epochs=20),  # no arm
    ]


def test_every_arm_finds_its_own_runs():
    data = frame([*arms(), *neighbours()])
    means = {name: fair.points(data, name).mean() for name in fair.ARMS}

    assert (means.pop("strong small dense"), means.pop("cyclic tuned dense")) == (90, 90)
    found = {name: round(mean - 2.5, 6) for name, mean in means.items() if not math.isnan(mean)}
    assert found == {
        "dense": 20, "ticket": 30, "tuned dense": 27, "tuned ticket": 31, "strong dense": 35,
        "strong ticket": 36, "shuffled": 22,
    }  # fmt: skip


def test_contrasts_are_paired_over_the_seeds_that_both_arms_have():
    dense = [made_up.record([seed**2 / 100], seed=seed, images=500, **DEMO | CHOSEN["demo"] | {"epochs": 80})
             for seed in (5, 1, 4, 2)]  # fmt: skip
    data = frame([*made_up.group(0.20, 0.30, 6, **DEMO), *dense])

    difference = fair.contrast(data, ("ticket", "strong dense"))
    assert difference.index.tolist() == [1, 2, 4, 5]
    assert list(difference) == pytest.approx([30 + seed - seed**2 for seed in (1, 2, 4, 5)])
    assert len(fair.contrast(data, ("ticket", "dense"))) == 6
    with pytest.raises(ValueError, match="one is there twice"):
        fair.contrast(frame([*made_up.group(0.20, 0.30, 6, **DEMO), *dense, *dense]), fair.PRIMARY)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([5, 6, 7, 5, 6, 7], "the gain survives"),
        ([1, 1.2, 0.8, 1, 1.1, 0.9], "the gain survives, as a small one"),
        ([-5, -6, -7, -5, -6, -7], "the dense network wins"),
        ([-1, -1.2, -0.8, -1, -1.1, -0.9], "the dense network wins, by little"),
        ([1, -1, 1, -1, 1, -1], "it is the schedule"),
        ([9, -9, 9, -9, 9, -9], "open"),
        ([5, 6, 7, 5, 6], "open"),
    ],
)
def test_the_primary_contrast_means_what_was_registered(values, words):
    assert fair.meaning(stats.interval(values)) == words


def test_secondary_contrasts_pass_by_holm_s_rule_once_all_have_six_seeds():
    assert fair.secondary_passed(frame(arms(5))) == {}
    assert stats.holm({"a": 0.01, "b": 0.03, "c": 0.03}) == {"a": True, "b": False, "c": False}
    assert stats.holm({"a": 0.01, "b": 0.02, "c": 0.04}) == {"a": True, "b": True, "c": True}


def test_a_strong_dense_network_that_does_not_fit_its_own_images_is_told():
    data = frame(arms())
    data.loc[data["split"] == "train", "accuracy"] = 0.8

    assert fair.numbers(data, "demo")["meaning"].endswith("dense network was not trained out either")
    assert "trained out" not in fair.numbers(frame(arms()), "demo")["meaning"]


def test_tables_hold_every_arm_and_contrast_that_has_runs():
    data = frame(arms())
    table = fair.contrasts(data).set_index("contrast")

    assert list(fair.arms(data)["arm"])[:2] == ["dense", "ticket"]
    assert table.loc["ticket - strong dense", "registered"] == "primary"
    assert table.loc["strong ticket - strong dense", ["registered", "passes Holm"]].tolist() == [
        "secondary",
        True,
    ]
    assert table.loc["ticket - dense", ["registered", "sign-flip p"]].tolist() == ["", ""]
    assert "ticket - rewound dense" not in table.index


def test_the_strong_ticket_stands_beside_what_was_run_at_its_setting():
    base = [made_up.record([0.2], images=500, **DEMO | CHOSEN["demo"] | {"epochs": 80, "augment": "rand"})]
    table = explored.strong_contrasts(frame([*arms(), *base]))

    assert list(table["contrast"]) == ["strong ticket - strong dense"]
    assert list(table["train of either (%)"]) == ["100 / 100"]


def test_the_gap_under_wrong_labels_is_that_of_train_and_test():
    noisy = made_up.group(0.20, 0.30, **DEMO, label_noise=0.4)
    table = explored.noise(frame([*arms(), *noisy])).set_index(["wrong labels (%)", "arm"])

    assert table.loc[("40", "ticket"), "train - test (points)"] == "69.0 ± 2.5"


def test_rates_and_times_are_read_from_the_configuration():
    tuned = RunConfig.of("demo", **scheduled("demo", {"tuned": True}))
    strong = RunConfig.of("demo", **scheduled("demo", STRONG))

    assert (rates(RunConfig.of("demo")), times(RunConfig.of("demo"))) == ("published", 1)
    assert (rates(tuned), times(tuned)) == ("tuned", 1)
    assert (rates(strong), times(strong)) == ("tuned", 4)
    assert rates(RunConfig.of("demo", lr=0.03)) == "other"
    assert (rates(RunConfig.of("wide")), times(RunConfig.of("paper"))) == ("published", 1)


def test_the_ticket_of_a_longer_training_was_found_in_the_usual_epochs():
    config = RunConfig.of("demo", **scheduled("demo", STRONG | {"control": "retrained"}))

    assert (config.train.epochs, config.finding.epochs, config.prune.every) == (80, 20, 5)
    assert config.requires == RunConfig.of("demo", **scheduled("demo", {"tuned": True}))
    assert RunConfig.of("paper", **scheduled("paper", STRONG | {"control": "retrained"})).prune.every == 15


@pytest.fixture(scope="module")
def tuned():
    runs = [made for made in PUBLISHED if made.config.seed >= 100 and made.config.network.width == 16]
    return frame(runs)


class TestTuning:
    """Chosen on val of seeds that are never reported."""

    def test_the_setting_is_the_best_on_val_of_the_recorded_runs(self, tuned):
        best = fair.ranked(tuned).iloc[0]

        assert tuned.groupby(list(RATES)).ngroups == 24 and set(tuned["seed"]) == {100, 101, 102}
        assert {rate: best[rate] for rate in RATES} == CHOSEN["demo"]

    def test_permuted_test_labels_change_test_and_not_the_choice(self, glyphs, tmp_path):
        permuted = dataclasses.replace(glyphs, labels=glyphs.labels | {"test": glyphs.labels["test"].flip(0)})
        told = {}
        for name, source in (("right", glyphs), ("wrong", permuted)):
            config = TINY.replace(rounds=0, test_limit=0)
            made = [small.make(config.replace(seed=seed, lr=lr), source, tmp_path / name)
                    for seed in (100, 101) for lr in (0.01, 0.1)]  # fmt: skip
            data = frame(made)
            told[name] = (data[data["split"] == "test"]["correct"].tolist(), fair.ranked(data))

        assert told["right"][0] != told["wrong"][0]
        assert told["right"][1].equals(told["wrong"][1])

    def test_a_reported_seed_may_not_tune(self):
        with pytest.raises(ValueError, match="seed 0 is reported"):
            fair.ranked(frame(arms()))

    def test_no_line_of_the_plan_both_tunes_and_reports(self):
        for line in experiments.PLAN:
            tunes = "tuning" in line.pages
            assert (line.first == 100) == tunes
            assert not tunes or line.pages == "tuning"

    def test_of_equals_fewer_steps_and_then_the_lower_rate_are_taken(self):
        runs = [
            made_up.record([0.3], seed=100, images=500, **DEMO | {"lr": lr, "batch_size": batch})
            for lr, batch in ((0.03, 50), (0.01, 10), (0.01, 50))
        ]

        order = fair.ranked(frame(runs))[["lr", "batch_size"]]
        assert order.to_numpy().tolist() == [[0.01, 50], [0.03, 50], [0.01, 10]]

    def test_the_mean_counts_and_not_the_number_of_runs(self):
        better = [made_up.record([0.3], seed=100, images=500, **DEMO | {"lr": 0.03})]
        more = [made_up.record([0.2], seed=seed, images=500, **DEMO) for seed in (100, 101)]

        assert fair.ranked(frame(better + more))["lr"].tolist() == [0.03, 0.1]


def test_labels_at_random_leave_the_test_images_at_chance():
    random = frame([made for made in PUBLISHED if made.config.data.label_noise == 0.9])
    tested = random[random["split"] == "test"]["accuracy"]

    assert len(tested) >= 3
    assert 100 * tested.mean() == pytest.approx(10, abs=2)


@pytest.fixture(scope="module")
def demo():
    """The published runs on 500 images of CIFAR-10 at demo scale, as the page of the fair test takes them."""
    usual = {"width": 16, "images": 500, "augment": "rand+cutout", "label_noise": 0}
    data = pick(frame(PUBLISHED), name="cifar10_exact", rewind="corrected", cutout="corrected", **usual)
    return data[data["seed"] < 100]


def test_the_page_is_right_that_a_longer_dense_network_overtakes_the_ticket(demo):
    assert stats.interval(fair.contrast(demo, ("ticket", "long dense"))).high < 0
    assert stats.interval(fair.contrast(demo, ("ticket", "cyclic dense"))).high < 0


@pytest.mark.parametrize("control", ["shuffled in layers", "reinitialised"])
def test_the_pages_are_right_on_the_controls_at_the_strong_setting(demo, control):
    published = pick(demo, rates="published", times=1, cycles=1)
    before = stats.contrasts(published[~published["control"].isin(["rewound", "retrained"])])[control]
    strong = "strong " + control.removesuffix(" in layers")

    assert fair.contrast(demo, ("strong ticket", strong)).mean() < before.mean() / 2
    assert stats.interval(fair.contrast(demo, (strong, "strong dense"))).high < 0


def test_the_page_is_right_that_the_ticket_gains_least_from_the_strong_setting(demo):
    published = pick(demo, rates="published", times=1, cycles=1)
    arms = stats.around_the_ticket(published[~published["control"].isin(["rewound", "retrained"])])
    gained = {
        name: (fair.points(demo, f"strong {name.removesuffix(' in layers')}") - stats.by_seed(rows)).mean()
        for name, rows in arms.items()
        if name != "random masks"
    }

    assert min(gained, key=gained.__getitem__) == "ticket"
    assert max(gained, key=gained.__getitem__) == "dense"


def test_the_page_is_right_on_the_ladder(demo):
    usual = {"batch_size": 50, "weight_decay": 5e-4, "cycles": 1}
    steps = pick(explored.ladder(pick(demo, **usual)), split="test")
    means = 100 * steps.groupby(["times", "arm", "lr"])["accuracy"].mean()

    assert (means[1, "ticket"] > means[1, "dense"]).all()
    assert means[4, "dense"].idxmax() < means[4, "ticket"].idxmax()
    assert (means[16, "ticket"] < means[16, "dense"]).loc[:0.05].all()
    assert means[16, "dense"].max() - means[16, "dense"].min() < 2
    leads = [fair.contrast(demo, (f"ticket{x}", f"dense{x}")) for x in ("", " 4x", " 16x")]
    assert leads[0].mean() > leads[1].mean() > leads[2].mean()
    assert stats.interval(leads[1]).low > 0
    assert abs(leads[2].mean()) < 1.5


def test_of_the_ladder_only_seeds_with_all_rates_are_compared():
    whole = [made_up.record([0.3], seed=seed, images=500, lr=lr) for seed in (0, 1) for lr in (0.01, 0.1)]
    extra = [made_up.record([0.9], seed=2, images=500, lr=0.1)]

    assert set(explored.ladder(frame([*whole, *extra]))["seed"]) == {0, 1}


def test_train_is_that_of_the_seeds_that_are_compared():
    more = [made_up.record([0.2], seed=9, images=500, train=[0.0], **DEMO | CHOSEN["demo"])]
    table = fair.contrasts(frame([*arms(), *more])).set_index("contrast")

    assert table.loc["ticket - tuned dense", "train of either (%)"] == "100 / 100"


def test_a_strong_dense_network_without_train_counts_is_provisional():
    difference = stats.interval([5.0, 5.1, 5.2, 5.3, 5.4, 5.5])

    assert "provisionally" in fair.meaning(difference, fit=math.nan)
