import ast
import dataclasses
import hashlib
import itertools
import warnings

import pytest
import torch
from conftest import opened

from lthnb.config import ROOT, DataConfig, ParameterError, RunConfig
from lthnb.images import sources, splits
from lthnb.runs import costs


def config(**values):
    return DataConfig(**{"name": "glyphs", "side": 16, "val_limit": 1000, "test_limit": 200, **values})


def digests(split):
    return {hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in split.images}


def test_one_percent_of_the_paper_is_five_hundred_images_fifty_a_class(glyphs):
    images = splits.subset_size(glyphs.info, config(), 0.01)
    loaded = splits.load(glyphs, config(images=images), seed=0)

    assert images == 500
    assert loaded.train.labels.bincount().tolist() == [50] * 10
    assert loaded.val.labels.bincount().tolist() == [100] * 10


def test_splits_are_disjoint_by_pixels(glyphs):
    loaded = splits.load(glyphs, config(images=300, pool_limit=1000), seed=0)
    train, val, test = digests(loaded.train), digests(loaded.val), digests(loaded.test)

    assert len(train) + len(val) + len(test) == len(train | val | test) == 300 + 100 + 200


def test_subsets_are_nested_and_balanced_within_one_image(glyphs):
    sizes = [7, 23, 100, 555]
    chosen = [splits._indices(glyphs, config(images=size), 3)[0].tolist() for size in sizes]

    for smaller, larger in itertools.pairwise(chosen):
        assert larger[: len(smaller)] == smaller
    for indices in chosen:
        counts = glyphs.labels["train"][indices].bincount(minlength=10)
        assert counts.max() - counts.min() <= 1


def test_val_is_the_same_for_all_sizes_and_subsets_are_those_of_the_seed(glyphs):
    small, large = (splits._indices(glyphs, config(images=size), 0) for size in (50, 500))
    other = splits._indices(glyphs, config(images=50), 1)

    assert small[1].tolist() == large[1].tolist() != other[1].tolist()
    assert small[0].tolist() != other[0].tolist()


def test_indices_of_a_seed_are_the_same_on_every_machine(glyphs):
    assert splits._indices(glyphs, config(images=5), 0)[0].tolist() == [1410, 25947, 25123, 43875, 32254]


def test_an_unequal_pool_is_cut_to_its_smallest_class():
    labels = torch.tensor([0] * 9 + [1] * 4 + [2] * 30)

    order = splits.balanced_order(labels, seed=0)

    assert labels[order].bincount().tolist() == [4, 4, 4]
    assert sorted(labels[order][:3].tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("fraction", "limit", "images"),
    [(0.01, 0, 500), (1, 0, 49_000), (500, 0, 500), (0.5, 2000, 1800), (1.0, 2000, 1800)],
)
def test_a_share_is_one_of_the_whole_pool_and_what_is_left_is_the_most(glyphs, fraction, limit, images):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert splits.subset_size(glyphs.info, config(pool_limit=limit), fraction) == images
    assert bool(caught) == (fraction == 0.5)  # more than is left, and not simply all of it


def test_a_count_above_what_is_left_warns_and_takes_all(glyphs):
    with pytest.warns(UserWarning, match="60,000 images asked for, 49,000 are left"):
        assert splits.subset_size(glyphs.info, config(), 60_000) == 49_000


def test_a_fraction_that_leaves_a_class_empty_names_it(image_folder):
    source = opened(image_folder({"cat": 30, "dog": 30}))

    with pytest.raises(
        ParameterError,
        match=r"fraction 0.02 of folder:pets@\w+ gives 1 .*some would be empty, say 'dog'; ask for 2 ",
    ):
        splits.subset_size(source.info, config(name=source.info.name), 0.02)
    for split in ("refit", "choosing"):
        with pytest.raises(ParameterError, match="ask for 5 or more"):
            splits.subset_size(source.info, config(name=source.info.name, split=split), 3)


def test_a_small_set_is_split_sixty_to_forty_to_choose_and_whole_to_report(image_folder):
    source = opened(image_folder({"cat": 25, "dog": 25}))
    choosing = splits.load(source, config(name=source.info.name, split="choosing", images=50), 0)
    whole = splits.load(source, config(name=source.info.name, split="refit", images=50), 0)

    assert (len(choosing.train), len(choosing.val)) == (30, 20)
    assert choosing.val.labels.bincount().tolist() == [10, 10]
    assert (len(whole.train), len(whole.val)) == (50, 0)
    assert digests(choosing.train) | digests(choosing.val) == digests(whole.train)


def test_normalised_training_images_have_mean_zero_and_deviation_one(glyphs):
    loaded = splits.load(glyphs, config(images=200), seed=0)
    values = loaded.normalise(loaded.train.images)

    assert values.mean((0, 2, 3)).abs().max() < 1e-5
    assert (values.std((0, 2, 3)) - 1).abs().max() < 1e-4


def test_the_test_split_is_made_in_one_place_only():
    readers = {"images/splits", "images/folder"}  # of images; the others count what a record holds
    readers |= {
        "runs/choice",
        "runs/record",
        "runs/rows",
        "runs/verify",
        "experiments",
        "measures/robustness",
    }
    made = []
    for path in (ROOT / "lthnb").rglob("*.py"):
        name = path.relative_to(ROOT / "lthnb").with_suffix("").as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "take" and node.args:
                made += [name] if getattr(node.args[0], "value", "") == "test" else []
            if isinstance(node, ast.Subscript) and getattr(node.slice, "value", "") == "test":
                assert name in readers or name.startswith("pages/"), name

    assert made == ["images/splits"]


def test_data_is_frozen(glyphs):
    with pytest.raises(dataclasses.FrozenInstanceError):
        splits.load(glyphs, config(images=20), 0).test = None


@pytest.mark.parametrize(("factor", "total"), [(0.1, 19_573), (0.02, 12_608), (0.01, 10_847)])
def test_long_tails_have_the_published_counts(factor, total):
    labels = torch.arange(100).repeat_interleave(500)

    chosen = splits.long_tailed(labels, factor, 0, tuple(map(str, range(100))))

    counts = labels[chosen].bincount().tolist()
    assert len(chosen) == len(set(chosen.tolist())) == total
    assert (counts[0], counts[-1]) == (500, int(500 * factor))


def test_a_long_tail_is_guessed_to_take_the_time_of_its_images(glyphs):
    balanced, tailed = (RunConfig.of(images=50_000, long_tail=factor) for factor in (0.0, 0.01))

    ratio = costs.cost(tailed, glyphs.info) / costs.cost(balanced, glyphs.info)

    assert ratio == pytest.approx(10_847 / 50_000, rel=0.02)


def test_a_long_tail_keeps_other_images_for_another_seed_and_needs_enough_of_each_class():
    labels, names = torch.arange(10).repeat_interleave(50), tuple("abcdefghij")
    first, other = (splits.long_tailed(labels, 0.1, seed, names).tolist() for seed in (0, 1))

    assert first != other
    with pytest.raises(ParameterError, match=r"long_tail 0\.5 takes 46 images of class 'b', which has 3"):
        splits.long_tailed(torch.cat([labels[:50], labels[50:53], labels[100:]]), 0.5, 0, names)


def test_a_long_tail_has_no_val_and_is_cut_from_the_whole_pool(glyphs):
    loaded = splits.load(glyphs, config(long_tail=0.001, images=50_000), 0)

    assert len(loaded.val) == 0
    assert loaded.train.labels.bincount().tolist() == [int(5000 * 0.001 ** (c / 9)) for c in range(10)]


def test_label_noise_is_wrong_everywhere_it_is_and_nowhere_else(glyphs):
    clean = splits.load(glyphs, config(images=500), 0)
    noise = splits.load(glyphs, config(images=500, label_noise=0.4), 0)
    wrong = clean.train.labels != noise.train.labels

    assert int(wrong.sum()) == 200
    assert "wrong" not in clean.splits
    assert torch.equal(noise.splits["wrong"].labels, noise.train.labels[wrong])
    assert torch.equal(noise.splits["wrong"].images, noise.train.images[wrong])
    assert torch.equal(clean.train.images, noise.train.images)
    assert torch.equal(clean.test.labels, noise.test.labels)
    assert noise.train.labels[wrong].bincount(minlength=10).min() > 5
    labels = torch.zeros(100, dtype=torch.long)
    assert not torch.equal(splits.noisy_labels(labels, 0.4, 10, 0), splits.noisy_labels(labels, 0.4, 10, 1))


def test_a_published_split_chooses_and_everything_reports(real_images):
    source = sources.open_source("eurosat", str(real_images("eurosat_rgb").parent))
    choosing = splits.load(source, config(name="eurosat", split="choosing", images=500), 3)
    whole = splits.load(source, config(name="eurosat", split="refit", images=500), 3)

    assert (len(choosing.train), len(choosing.val), len(whole.train), len(whole.val)) == (300, 200, 500, 0)
    assert choosing.train.labels.bincount().tolist() == [30] * 10


def test_a_part_of_a_published_split_is_cut_sixty_to_forty(real_images):
    source = sources.open_source("eurosat", str(real_images("eurosat_rgb").parent))
    part = splits.load(source, config(name="eurosat", split="choosing", images=100), 3)

    assert (len(part.train), len(part.val)) == (60, 40)
    assert part.train.labels.bincount().tolist() == [6] * 10


@pytest.mark.parametrize("fraction", [0.5, 1, 20])
def test_a_refit_and_the_run_that_chooses_its_round_have_the_same_images(image_folder, fraction):
    source = opened(image_folder({"cat": 25, "dog": 25}))
    refit, choosing = (config(name=source.info.name, split=split) for split in ("refit", "choosing"))
    images = splits.subset_size(source.info, refit, fraction)

    assert images == splits.subset_size(source.info, choosing, fraction)
    assert images == (fraction if fraction > 1 else fraction * 50)


def test_an_unbalanced_archive_is_balanced(real_images):
    source = opened(real_images("cifar100_exact"))
    loaded = splits.load(source, config(name=source.info.name, images=1000), 0)

    assert source.info.pool == 10_000
    assert loaded.train.labels.bincount().tolist() == [10] * 100
