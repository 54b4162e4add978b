"""The runs behind a page: found in the plan or in its parameters, read, trained where they are missing."""

import dataclasses

import pytest
import torch
from conftest import opened
from helpers import small
from helpers.made_up import record as made_up
from helpers.pretended import pretended

from lthnb import experiments
from lthnb.config import DataMissing, ParameterError, RunConfig
from lthnb.images.dataset import DataError
from lthnb.pages import study
from lthnb.runs import choice, record, sweep
from lthnb.runs.files import Damaged, is_locked
from lthnb.runs.record import MissingRun
from lthnb.training import imp
from lthnb.training.imp import epochs


def changed(page, **values):
    """A page with other parameters; those of a run replace values of its profile."""
    own = {field.name for field in dataclasses.fields(page)}
    changes = {name: value for name, value in values.items() if name not in own and value is not None}
    kept = {name: value for name, value in values.items() if name in own}
    return dataclasses.replace(page, **kept, changes={**page.changes, **changes})


def obtained(page):
    """The runs of a page that prune; a strong dense network stands beside each."""
    return [made for made in study.obtain(study.find("imp", page)) if made.config.prune.rounds]


def planned(info, page, profile):
    return experiments.seeds_of(study.own_lines("imp", page)[:1], {"any": info}, profile, page.seeds)


def test_a_page_trains_once_and_then_reads(page, capsys):
    first = obtained(page)
    again = obtained(page)
    said = capsys.readouterr().out

    assert first == again
    assert "0 of 2 runs are on record" in said
    assert "training 2 runs at smoke scale on cpu in fp32" in said
    assert said.rstrip().endswith("2 of 2 runs are on record")


def test_a_strong_dense_network_stands_beside_the_runs_of_a_page(page):
    own, strong = study.find("imp", changed(page, epochs=3)).configs

    assert (own.train.epochs, own.prune.rounds) == (3, 2)
    assert (strong.train.epochs, strong.prune.rounds, strong.train.lr) == (12, 0, 0.003)
    assert strong.data == own.data


def test_a_page_that_only_reads_never_trains(page):
    page = changed(page, train=False)

    with pytest.raises(MissingRun, match="pass -p train True"):
        obtained(page)


def test_a_reading_page_takes_the_set_that_is_on_record(page):
    trained = obtained(page)
    page = changed(page, train=False, dataset="auto")

    found = study.find("imp", page)

    assert found.images == {}
    assert [made for made in study.obtain(found) if made.config.prune.rounds] == trained


def test_imp_alone_takes_glyphs_for_images_that_are_missing_and_says_so(page, tmp_path, capsys):
    page = changed(page, dataset="auto", data_root=str(tmp_path / "none"))
    found = study.find("imp", page)
    told = "NOTE data set glyphs: rendered digits, since cifar10: cifar-10-batches-py is not under"

    assert found.images["glyphs"].dataset == "glyphs"
    assert told in capsys.readouterr().out
    asked = rf"cifar10: .* is not under {tmp_path / 'none'}; get it with.*-p dataset NAME"
    with pytest.raises(DataMissing, match=asked):
        study.find("imp", changed(page, profile="paper"))
    with pytest.raises(DataMissing, match=asked):
        study.find("low_data", changed(page, fraction=None))
    with pytest.raises(DataMissing, match=r"cifar100: .* is not under"):
        study.find("imp", changed(page, dataset="cifar100"))


def test_the_readme_s_command_works_on_a_gpu_without_images_too(page, tmp_path, capsys):
    page = changed(page, dataset="auto", data_root=str(tmp_path / "none"), profile="auto", device="auto")
    with pretended():
        found = study.find("imp", page)

    assert found.profile == "paper"
    assert found.images["glyphs"].dataset == "glyphs"
    assert "NOTE data set glyphs: rendered digits, since cifar10" in capsys.readouterr().out


def test_a_set_that_changed_is_opened_anew(page, image_folder):
    folder = image_folder({"cat": 30, "dog": 30})
    page = changed(page, dataset=f"folder:{folder}", fraction=20)
    before = study.find("imp", page).configs
    (folder / "train" / "cat" / "029.png").unlink()
    (folder / "train" / "dog" / "029.png").unlink()

    assert study.find("imp", page).configs[0].data.name != before[0].data.name


def test_an_interrupt_lets_go_of_the_runs_although_its_trace_is_kept(page, monkeypatch):
    def interrupted(news, total):
        next(news)
        raise KeyboardInterrupt

    found = study.find("imp", page)
    monkeypatch.setattr(study, "followed", interrupted)
    with pytest.raises(KeyboardInterrupt) as kept:
        study.obtain(found)

    assert kept.value.__traceback__
    assert not is_locked(record.folders(page.runs)[0] / found.configs[0].key)


def test_what_is_odd_about_a_data_set_is_told_where_it_is_trained_on(page, image_folder, capsys):
    folder = image_folder({"cat": 30, "dog": 30})
    copy = folder / "test" / "cat" / "000.png"
    copy.write_bytes((folder / "train" / "cat" / "000.png").read_bytes())
    found = study.find("imp", changed(page, dataset=f"folder:{folder}", fraction=20))

    (name,) = {config.data.name for config in found.configs}
    assert f"NOTE data set {name}: equal images in train and test: 1 of the 4" in capsys.readouterr().out


def test_a_page_shows_other_lines_of_the_plan_at_its_own_scale_and_on_its_own_images_only(
    page, tmp_path, glyphs
):
    page = changed(page, fraction=None)
    found = study.find("low_data", page)
    demo = dataclasses.replace(found, profile="demo")
    (line,) = experiments.of_page("full_width")
    wide = experiments.resolve(glyphs.info, "wide", line.change)
    other = wide.replace(name="folder:cifar10_exact@01234567")
    for config in (wide, other):
        made = dataclasses.replace(made_up([0.1] * 6, sha256=glyphs.info.sha256), config=config)
        made.data["name"] = config.data.name
        record.save(made, page.runs)

    assert study.beside(found, "full_width") == study.beside(demo, "full_width") == []
    assert [made.config for made in study.beside(demo, "full_width", "wide")] == [wide]


def test_a_precision_that_records_do_not_have_is_told(page, capsys):
    (made,) = obtained(page)
    obtained(page)
    assert "NOTE" not in capsys.readouterr().out
    obtained(changed(page, precision="bf16"))

    told = "NOTE bf16 was asked for; on record in another precision, and not made again: "
    assert f"{told}{made.config.key} (fp32)" in capsys.readouterr().out


def test_a_page_that_trains_makes_a_damaged_record_again_and_names_it(page, capsys):
    (made,) = obtained(page)
    path = record.locate(made.config, page.runs)
    path.write_bytes(path.read_bytes().replace(b'"seed":0', b'"seed":1'))

    with pytest.raises(Damaged):
        obtained(changed(page, train=False))
    (again,) = obtained(page)

    assert f"NOTE {path.name} is damaged" in capsys.readouterr().out
    assert again.rounds[2]["curve"] == made.rounds[2]["curve"]


def test_profiles_are_those_of_the_design(glyphs, page):
    page = changed(page, fraction=0.01, seeds=2)
    smoke, demo, paper = (planned(glyphs.info, page, name) for name in ("smoke", "demo", "paper"))

    assert paper == tuple(RunConfig.of(name="glyphs", evaluate_last=5, seed=seed) for seed in range(2))
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
    page = changed(page, width=4, epochs=3, rounds=None)
    config = planned(glyphs.info, page, "demo")[0]

    assert (config.network.width, config.train.epochs, config.prune.rounds) == (4, 3, 5)


def test_a_small_folder_chooses_on_a_split_and_reports_on_all(page, image_folder):
    page = changed(page, dataset=f"folder:{image_folder({'cat': 30, 'dog': 30})}", fraction=1)

    (made,) = obtained(page)

    assert made.config.data.split == "refit"
    assert made.data["counts"]["train"] == [30, 30]
    assert made.rounds[1]["total"] == {"train": 60, "val": 24, "test": 4}
    assert made.chosen["val"]["images"] == 24


def test_small_images_are_not_enlarged_and_large_ones_become_64_at_demo_scale(page, image_folder):
    info = opened(image_folder({"cat": 30, "dog": 30})).info
    page = changed(page, fraction=1)
    large = dataclasses.replace(info, side=224)

    assert planned(large, page, "demo")[0].data.side == 64
    assert planned(large, page, "paper")[0].data.side == 0
    assert planned(dataclasses.replace(info, side=8), page, "demo")[0].data.side == 0


def test_a_record_of_other_images_is_refused(page):
    (made,) = obtained(page)
    made.data["sha256"] = "0" * 64
    record.save(made, page.runs)

    with pytest.raises(DataError, match="another version of glyphs"):
        obtained(page)


def test_an_interrupted_page_keeps_its_finished_runs(page, monkeypatch, capsys):
    page = changed(page, seeds=2)
    inner = sweep.execute

    def interrupted(config, *args, **options):
        if config.seed == 1:
            raise KeyboardInterrupt
        return inner(config, *args, **options)

    monkeypatch.setattr(sweep, "execute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        obtained(page)

    assert "1 of 4 runs are on record, run again to go on" in capsys.readouterr().out
    monkeypatch.setattr(sweep, "execute", inner)
    assert len(obtained(page)) == 2


def test_bf16_is_taken_where_the_processor_has_it(page):
    page = changed(page, precision="auto")
    capable = torch.cpu.get_capabilities().get("avx512_bf16", False)

    assert study.find("imp", page).settings.chosen_precision == ("bf16" if capable else "fp32")


def test_epochs_are_counted_over_all_trainings():
    assert epochs(RunConfig.of(rounds=15)) == 200 + 15 * 198
    assert epochs(RunConfig.of(rounds=15, rewind="as_released")) == 16 * 200


def test_real_images_are_read_and_learned(page, real_images):
    dataset = f"folder:{real_images('eurosat_rgb')}"
    page = changed(page, dataset=dataset, fraction=1, rounds=1, epochs=6)

    (made,) = obtained(page)

    assert made.data["name"].startswith("folder:eurosat_rgb@")
    assert made.data["counts"]["train"] == [50] * 10
    assert made.rounds[0]["correct"]["test"] > 0.2 * made.rounds[0]["total"]["test"]


def test_seeds_draw_other_images_and_other_weights(page, monkeypatch):
    seen = []
    inner = imp.passes

    def watched(config, data, **options):
        if not config.prune.rounds:
            yield from inner(config, data, **options)
            return
        seen.append(data.train.images.float().mean().item())
        for current in inner(config, data, **options):
            if current.index == 0 and current.epoch == 1:
                seen.append(current.rewind["head.weight"].sum().item())
            yield current

    monkeypatch.setattr(imp, "passes", watched)
    obtained(changed(page, seeds=2))

    assert len(seen) == len({*seen}) == 4


def test_test_labels_decide_nothing_in_a_whole_run(page, glyphs):
    labels = {**glyphs.labels, "test": glyphs.labels["test"].flip(0)}
    shuffled = dataclasses.replace(glyphs, labels=labels)
    config = planned(glyphs.info, page, "smoke")[0].replace(test_limit=0)
    ours = small.make(config, glyphs, f"{page.runs}/a")
    other = small.make(config, shuffled, f"{page.runs}/b")

    assert ours.chosen["val"] == other.chosen["val"]
    for row, twin in zip(ours.rounds, other.rounds, strict=True):
        assert row["correct"]["test"] != twin["correct"]["test"]
        assert (row["kept"], row["curve"]["loss"]) == (twin["kept"], twin["curve"]["loss"])
        assert all(row["correct"][split] == twin["correct"][split] for split in ("train", "val"))


def test_the_choice_on_val_is_made_on_val():
    rows = made_up([0.1, 0.2, 0.9], val=[0.1, 0.5, 0.4]).rounds

    assert choice.choices(rows)["val"]["round"] == 1
    assert choice.choices(rows)["test"] == 2


def test_rounds_that_leave_no_weight_are_refused_before_training(glyphs, page):
    page = changed(page, rate=0.9, rounds=9)

    with pytest.raises(ParameterError, match=r"rounds 9 at rate 0\.9 leave no weight"):
        planned(glyphs.info, page, "smoke")


def test_a_missing_gpu_is_one_sentence(page):
    page = changed(page, device="cuda")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")

    with pytest.raises(ParameterError, match="torch finds no GPU, got 'cuda'"):
        study.find("imp", page)


def test_the_next_step_keeps_what_was_given(page):
    page = changed(page, given={"profile": "smoke", "dataset": "glyphs", "fraction": 60})

    words = study.next_step(study.find("imp", page))
    assert words == "papermill notebooks/imp.ipynb -p profile smoke -p dataset glyphs -p fraction 120"


def test_a_record_of_paper_size_stays_under_fifty_kilobytes(page):
    (made,) = obtained(page)
    row = made.rounds[0]
    row["kept"] = [1_234_567] * 20
    row["curve"]["loss"] = [0.0123] * 200
    row["curve"]["correct"] = [{"epochs": 180 + i, "test": 5123} for i in range(20)]
    made.rounds[:] = [row] * 20

    assert len(made.to_json()) < 50_000


def test_the_seeds_of_a_page_may_run_side_by_side(page, monkeypatch, capsys):
    monkeypatch.setattr(study, "WORTH_IT", 0.0)
    monkeypatch.setattr(study, "cores", lambda: 2)
    alone = obtained(changed(page, seeds=2, runs=f"{page.runs}/alone"))
    monkeypatch.setattr(study, "cores", lambda: 1)
    beside = obtained(changed(page, seeds=2))

    assert "2 at a time" in capsys.readouterr().out
    assert [made.rounds[2]["curve"] for made in alone] == [made.rounds[2]["curve"] for made in beside]
