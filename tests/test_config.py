"""What a run is: its fields, its key, its rules, its streams."""

import dataclasses

import pytest

from lthnb import config
from lthnb.config import ROOT, ParameterError, RunConfig
from lthnb.images.places import find


def test_keys_of_released_configurations_never_change():
    assert RunConfig().key == "6d76d6a408f17555"
    assert RunConfig.of(**config.PROFILES["demo"], seed=3).key == "64921fc215b35768"
    assert RunConfig.of(name="folder:pets@01234567", images=90, split="refit").key == "24671d0ad337d4a1"


def test_defaults_and_profiles_are_those_of_the_design():
    assert dataclasses.asdict(RunConfig()) == {
        "data": {
            "name": "cifar10", "images": 500, "side": 0, "pool_limit": 0, "val_limit": 5000, "test_limit": 0,
            "split": "holdout", "long_tail": 0.0, "label_noise": 0.0,
        },
        "network": {"model": "resnet18", "width": 64, "init": "pytorch", "widths": "", "norm": "single"},
        "train": {
            "epochs": 200, "batch_size": 100, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0005,
            "augment": "base", "cutout": "corrected", "objective": "cross_entropy",
            "cycles": 1, "evaluate_last": 1,
        },
        "prune": {
            "rounds": 19, "rate": 0.2, "rewind_epoch": 2, "rewind": "corrected",
            "control": "none", "every": 1, "found_lr": 0.0, "found_epochs": 0,
        },
        "seed": 0,
    }  # fmt: skip
    shared = {"side": 16, "rate": 0.488, "rewind_epoch": 1, "batch_size": 50}
    limits = {"pool_limit": 2000, "val_limit": 200, "test_limit": 200}
    assert {
        "smoke": shared | limits | {"model": "resnet10", "width": 8, "rounds": 2, "epochs": 2},
        "demo": shared | {"width": 16, "rounds": 5, "epochs": 20, "val_limit": 1000},
        "wide": {"rounds": 5, "rate": 0.488},
        "paper": {"evaluate_last": 5},
    } == config.PROFILES


def test_a_new_field_with_its_default_leaves_the_key_alone():
    values = {"train": {"lr": 1, "new": 0}, "seed": 0}
    defaults = {"train": {"lr": 2, "new": 0}, "seed": 0}

    assert config._changed(values, defaults) == {"train": {"lr": 1}}


OTHER = {  # a value that is not the default, of the fields that take no 7
    "name": "glyphs",
    "split": "refit",
    "model": "resnet10",
    "init": "torchvision",
    "augment": "none",
    "cutout": "as_released",
    "rewind": "as_released",
    "lr": 0.2,
    "momentum": 0.5,
    "weight_decay": 0.1,
    "rate": 0.5,
    "long_tail": 0.1,
    "label_noise": 0.2,
    "control": "random",
    "widths": "2-4-8-9",
    "cycles": 5,
    "found_lr": 0.2,
    "objective": "advprop",
}
BESIDE = {  # what else a field needs to take another value
    "every": {"control": "shuffled"},
    "found_lr": {"control": "shuffled"},
    "found_epochs": {"control": "shuffled"},
    "objective": {"norm": "dual"},
}
BOUND = {"norm"}  # fields that change with another one alone


def test_the_key_changes_with_every_field():
    keys = {RunConfig().key}
    names = set(config.FIELDS) - BOUND
    for name in sorted(names):
        keys.add(RunConfig.of(**{name: OTHER.get(name, 7)}, **BESIDE.get(name, {})).key)

    assert len(keys) == len(names) + 1


def test_every_field_of_a_run_is_one_that_can_be_named():
    parts = dataclasses.asdict(RunConfig())
    flat = [name for part in parts.values() if isinstance(part, dict) for name in part]

    assert sorted(config.FIELDS) == sorted([*flat, "seed"])
    assert all(
        RunConfig().field(name) == RunConfig.of(**{name: RunConfig().field(name)}).field(name)
        for name in flat
    )


def test_a_configuration_survives_json_like_dicts():
    run = RunConfig.of(name="glyphs", width=16, rounds=5, seed=2)

    assert RunConfig.from_dict(dataclasses.asdict(run)) == run


def test_a_record_without_a_later_field_reads_as_its_default():
    document = dataclasses.asdict(RunConfig(seed=2))
    del document["train"]["objective"]

    assert RunConfig.from_dict(document) == RunConfig(seed=2)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rate": 1.0}, "rate must be a number above 0 and below 1, got 1.0"),
        ({"rounds": 2.5}, "rounds must be a whole number from 0 to 100, got 2.5"),
        ({"lr": float("nan")}, "lr must be"),
        ({"width": True}, "width must be"),
        ({"model": "resnet81"}, "did you mean 'resnet18'?"),
        ({"epochs": 2}, r"epochs must be above rewind_epoch \(2\), got 2"),
        ({"wdith": 2}, "wdith is no field of a run; did you mean 'width'"),
        (
            {"profile": "dmeo"},
            "profile must be one of smoke, demo, wide, paper, got 'dmeo'; did you mean 'demo'",
        ),
        ({"objective": "advprop"}, "objective 'advprop' needs norm 'dual', got 'single'"),
        ({"norm": "dual"}, "objective 'cross_entropy' needs norm 'single', got 'dual'"),
        ({"control": "random", "split": "refit"}, "control 'random' needs 1 or more rounds and 2,000 images"),
    ],
)
def test_an_impossible_value_is_named_with_what_is_allowed(values, words):
    with pytest.raises(ParameterError, match=words):
        RunConfig.of(**values)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("model", config.NETWORKS),
        ("init", config.STARTS),
        ("objective", config.OBJECTIVES),
        ("augment", config.AUGMENTATIONS),
        ("control", ("none", *config.CONTROLS)),
    ],
)
def test_what_the_extension_points_offer_may_be_asked_for_by_name(name, names):
    assert config.RULES[name].choices == names


def test_streams_depend_on_seed_name_and_epoch_alone():
    draws = [
        int(config.stream(*key).initial_seed())
        for key in [(0, "order", 0), (0, "order", 0), (1, "order", 0), (0, "order", 1), (0, "init", 0)]
    ]

    assert draws[0] == draws[1]
    assert len(set(draws)) == 4


def test_a_path_is_looked_for_under_the_data_root_then_in_the_repository(tmp_path):
    (tmp_path / "book").mkdir()

    assert find("book", str(tmp_path)) == tmp_path / "book"
    assert find("notebooks", str(tmp_path)) == ROOT / "notebooks"
    with pytest.raises(config.DataMissing, match="neither under the data root"):
        find("nowhere", str(tmp_path))
