import dataclasses
import re

import pytest

from lthnb import config
from lthnb.config import ROOT, ParameterError, RunConfig
from lthnb.pages.parameters import find


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
        "network": {"model": "resnet18", "width": 64, "init": "pytorch", "widths": ""},
        "train": {
            "epochs": 200, "batch_size": 100, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0005,
            "augment": "base", "cutout": "corrected", "evaluate_last": 1,
        },
        "prune": {
            "rounds": 19, "rate": 0.2, "rewind_epoch": 2, "rewind": "corrected",
            "control": "none", "every": 1,
        },
        "seed": 0,
    }  # fmt: skip
    shared = {"side": 16, "rate": 0.488, "rewind_epoch": 1, "batch_size": 50}
    limits = {"pool_limit": 2000, "val_limit": 200, "test_limit": 200}
    assert {
        "smoke": shared | limits | {"model": "resnet10", "width": 8, "rounds": 2, "epochs": 2},
        "demo": shared | {"width": 16, "rounds": 5, "epochs": 20, "val_limit": 1000},
        "paper": {"evaluate_last": 20},
    } == config.PROFILES


def test_a_new_field_with_its_default_leaves_the_key_alone():
    assert config._changed(
        {"train": {"lr": 1, "new": 0}, "seed": 0}, {"train": {"lr": 2, "new": 0}, "seed": 0}
    ) == {"train": {"lr": 1}}


def test_the_key_changes_with_every_field():
    other = {"name": "glyphs", "split": "refit", "model": "resnet10", "init": "torchvision"}
    other |= {
        "augment": "none",
        "cutout": "as_released",
        "rewind": "as_released",
        "lr": 0.2,
        "momentum": 0.5,
        "weight_decay": 0.1,
    }
    other |= {"rate": 0.5, "long_tail": 0.1, "label_noise": 0.2, "control": "random", "widths": "2-4-8-9"}
    keys = {RunConfig().key}
    flat = {
        name: value
        for part in dataclasses.asdict(RunConfig()).values()
        if isinstance(part, dict)
        for name, value in part.items()
    }
    for name, value in [*flat.items(), ("seed", 0)]:
        changed = {name: other.get(name, 7 if isinstance(value, int) else value)}
        keys.add(RunConfig.of(**changed, **({"control": "shuffled"} if name == "every" else {})).key)
    assert len(keys) == len(flat) + 2


def test_a_configuration_survives_json_like_dicts():
    run = RunConfig.of(name="glyphs", width=16, rounds=5, seed=2)

    assert RunConfig.from_dict(dataclasses.asdict(run)) == run


def test_every_field_is_read_somewhere():
    source = "".join(path.read_text() for path in (ROOT / "lthnb").glob("*.py"))
    for part in (config.DataConfig, config.NetworkConfig, config.TrainConfig, config.PruneConfig):
        for each in dataclasses.fields(part):
            assert re.search(rf"\.{each.name}\b", source), f"{each.name} is never read"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rate": 1.0}, "rate must be a number above 0 and below 1, got 1.0"),
        ({"rounds": 2.5}, "rounds must be a whole number from 0 to 100, got 2.5"),
        ({"lr": float("nan")}, "lr must be"),
        ({"width": True}, "width must be"),
        ({"model": "resnet81"}, "did you mean 'resnet18'?"),
        ({"epochs": 2}, r"epochs must be above rewind_epoch \(2\), got 2"),
    ],
)
def test_an_impossible_value_is_named_with_what_is_allowed(values, words):
    with pytest.raises(ParameterError, match=words):
        RunConfig.of(**values)


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
