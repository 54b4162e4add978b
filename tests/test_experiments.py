import pytest
import torch
from conftest import opened

from lthnb import experiments, record
from lthnb.config import ParameterError, RunConfig
from lthnb.costs import epochs
from lthnb.folders import DataError
from lthnb.record import MissingRun


def test_a_page_trains_once_and_then_reads(page, capsys):
    first = experiments.obtain(experiments.imp(page))
    again = experiments.obtain(experiments.imp(page))
    said = capsys.readouterr().out

    assert first == again
    assert "0 of 1 runs are on record" in said
    assert "training 1 runs at smoke scale on cpu in fp32: about 0:0" in said
    assert said.rstrip().endswith("1 of 1 runs are on record")


def test_a_page_that_only_reads_never_trains(page):
    page.train = False

    with pytest.raises(MissingRun, match="pass -p train True"):
        experiments.obtain(experiments.imp(page))


def test_a_reading_page_takes_the_set_that_is_on_record(page):
    trained = experiments.obtain(experiments.imp(page))
    page.train, page.dataset = False, "auto"

    study = experiments.imp(page)

    assert study.sources == {}
    assert experiments.obtain(study) == trained


def test_profiles_are_those_of_the_design(glyphs, page):
    page.fraction, page.seeds = 0.01, 2
    smoke, demo, paper = (experiments.plan(glyphs.facts, page, name) for name in ("smoke", "demo", "paper"))

    assert paper == tuple(RunConfig.of(name="glyphs", evaluate_last=20, seed=seed) for seed in range(2))
    assert demo[0] == RunConfig.of(
        name="glyphs",
        side=16,
        width=16,
        rate=0.488,
        rounds=5,
        epochs=20,
        rewind_epoch=1,
        batch_size=50,
        val_limit=1000,
    )
    assert (smoke[0].network.model, smoke[0].train.epochs, smoke[0].data.test_limit) == ("resnet10", 2, 200)
    assert pytest.approx(0.8**15, rel=1e-3) == 0.512**5


def test_a_page_may_replace_any_value_of_its_profile(glyphs, page):
    page.width, page.epochs, page.rounds = 4, 3, None
    config = experiments.plan(glyphs.facts, page, "demo")[0]

    assert (config.network.width, config.train.epochs, config.prune.rounds) == (4, 3, 5)


def test_a_small_folder_chooses_on_a_split_and_reports_on_all(page, image_folder):
    page.dataset, page.fraction = f"folder:{image_folder({'cat': 30, 'dog': 30})}", 1

    (made,) = experiments.obtain(experiments.imp(page))

    assert made.config.data.split == "refit"
    assert made.data["counts"]["train"] == [30, 30]
    assert made.rounds[1]["total"] == {"train": 60, "val": 24, "test": 4}
    assert made.chosen["val"]["images"] == 24


def test_small_images_are_not_enlarged_and_large_ones_become_64_at_demo_scale(page, image_folder):
    facts = opened(image_folder({"cat": 30, "dog": 30})).facts
    page.fraction = 1
    large = facts.__class__(**{**vars(facts), "side": 224})

    assert experiments.plan(large, page, "demo")[0].data.side == 64
    assert experiments.plan(large, page, "paper")[0].data.side == 0
    assert experiments.plan(facts.__class__(**{**vars(facts), "side": 8}), page, "demo")[0].data.side == 0


def test_a_record_of_other_images_is_refused(page):
    (made,) = experiments.obtain(experiments.imp(page))
    made.data["sha256"] = "0" * 64
    record.save(made, page.runs)

    with pytest.raises(DataError, match="another version of glyphs"):
        experiments.obtain(experiments.imp(page))


def test_an_interrupted_page_keeps_its_finished_runs(page, monkeypatch, capsys):
    page.seeds, inner = 2, experiments.run

    def interrupted(config, *args, **options):
        if config.seed == 1:
            raise KeyboardInterrupt
        return inner(config, *args, **options)

    monkeypatch.setattr(experiments, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        experiments.obtain(experiments.imp(page))

    assert "1 of 2 runs are on record, run again to go on" in capsys.readouterr().out
    monkeypatch.setattr(experiments, "run", inner)
    assert len(experiments.obtain(experiments.imp(page))) == 2


def test_bf16_is_taken_where_the_processor_has_it(page):
    page.precision = "auto"
    capable = torch.cpu.get_capabilities().get("avx512_bf16", False)

    assert experiments.imp(page).precision == ("bf16" if capable else "fp32")


def test_epochs_are_counted_over_all_trainings():
    assert epochs(RunConfig.of(rounds=15)) == 200 + 15 * 198
    assert epochs(RunConfig.of(rounds=15, rewind="as_released")) == 16 * 200


def test_real_images_are_read_and_learned(page, real_images):
    page.dataset, page.fraction, page.rounds, page.epochs = f"folder:{real_images('eurosat_rgb')}", 1, 1, 6

    (made,) = experiments.obtain(experiments.imp(page))

    assert made.data["name"].startswith("folder:eurosat_rgb@")
    assert made.data["counts"]["train"] == [50] * 10
    assert made.accuracy("test")[0] > 0.2


def test_seeds_draw_other_images_and_other_weights(page, monkeypatch):
    from lthnb import imp, running

    seen, build, load = [], imp.build, running.load

    def built(*args, **options):
        model = build(*args, **options)
        seen.append(model.head.weight.sum().item())
        return model

    def loaded(*args):
        data = load(*args)
        seen.append(data.train.images.float().mean().item())
        return data

    monkeypatch.setattr(imp, "build", built)
    monkeypatch.setattr(running, "load", loaded)
    page.seeds = 2
    experiments.obtain(experiments.imp(page))

    assert len({*seen[-4:]}) == 4


def test_test_labels_decide_nothing_in_a_whole_run(page, glyphs):
    import dataclasses

    from lthnb import running

    labels = {**glyphs.labels, "test": glyphs.labels["test"].flip(0)}
    shuffled = dataclasses.replace(glyphs, labels=labels)
    config = experiments.plan(glyphs.facts, page, "smoke")[0].replace(test_limit=0)
    ours = running.run(config, glyphs, runs=f"{page.runs}/a")
    other = running.run(config, shuffled, runs=f"{page.runs}/b")

    assert ours.chosen["val"] == other.chosen["val"]
    for row, twin in zip(ours.rounds, other.rounds, strict=True):
        assert (row["kept"], row["curve"]["loss"]) == (twin["kept"], twin["curve"]["loss"])
        assert all(row["correct"][split] == twin["correct"][split] for split in ("train", "val"))
    assert ours.accuracy("test") != other.accuracy("test")


def test_the_choice_on_val_is_made_on_val():
    from made_up import record as made_up

    from lthnb.running import _choices

    rows = made_up([0.1, 0.2, 0.9], val=[0.1, 0.5, 0.4]).rounds

    assert _choices(rows)["val"]["round"] == 1
    assert _choices(rows)["test"] == 2


def test_rounds_that_leave_no_weight_are_refused_before_training(glyphs, page):
    page.rate, page.rounds = 0.9, 9

    with pytest.raises(ParameterError, match=r"rounds 9 at rate 0\.9 leave no weight"):
        experiments.plan(glyphs.facts, page, "smoke")


def test_a_missing_gpu_is_one_sentence(page):
    page.device = "cuda"
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")

    with pytest.raises(ParameterError, match="torch finds no GPU, got 'cuda'"):
        experiments.imp(page)


def test_the_next_step_keeps_what_was_given(page):
    page.given = {"profile": "smoke", "dataset": "glyphs", "fraction": 60}

    words = experiments.next_step(experiments.imp(page))
    assert words == "papermill notebooks/imp.ipynb -p profile smoke -p dataset glyphs -p fraction 120"


def test_a_record_of_paper_size_stays_under_fifty_kilobytes(page):
    (made,) = experiments.obtain(experiments.imp(page))
    row = made.rounds[0]
    row["kept"], row["curve"]["loss"] = [1_234_567] * 20, [0.0123] * 200
    row["curve"]["correct"] = [{"epochs": 180 + i, "test": 5123} for i in range(20)]
    made.rounds[:] = [row] * 20

    assert len(made.to_json()) < 50_000
