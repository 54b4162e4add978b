"""Where the weights of a ticket are: nulls, overlaps, what is saved, and the file that keeps a measure."""

import pytest
import torch
from helpers import made_up

from lthnb.config import NetworkConfig, RunConfig
from lthnb.images.splits import load
from lthnb.measures import layers
from lthnb.measures import measure as measures
from lthnb.pages import inside as profiles
from lthnb.pages import tables
from lthnb.runs import execute as running
from lthnb.runs import record
from lthnb.runs import ticket as tickets
from lthnb.runs.files import Damaged
from lthnb.runs.record import MissingRun
from lthnb.runs.ticket import Shape
from lthnb.training import masks
from lthnb.training.networks import build

RUN = RunConfig.of(
    name="glyphs", images=60, side=16, val_limit=50, test_limit=50, model="resnet10", width=4,
    epochs=3, batch_size=20, rounds=2, rate=0.5, rewind_epoch=1,
)  # fmt: skip
SHAPE = Shape(RUN.network, 3, 16, tuple("0123456789"))


@pytest.fixture(scope="module")
def measured(glyphs, tmp_path_factory):
    """A run, another of the same initialisation, and what is measured on the first."""
    folder = tmp_path_factory.mktemp("inside")
    one, other = (
        running.run(config, glyphs, runs=str(folder)) for config in (RUN, RUN.replace(augment="rand"))
    )
    places = {other.config.key: folder / other.config.key}
    values = layers.measure(one, folder / RUN.key, places, load(glyphs, RUN.data, 0), 2)
    return one, other, values, folder


def test_nulls_keep_as_many_weights_as_the_ticket_and_only_the_largest(measured):
    one, _, values, folder = measured
    for name in ("init", "rewind"):
        assert [sum(kept) for kept in values["null"][name]] == [sum(row["kept"]) for row in one.rounds]
    weights = masks.prunable(build(RUN.network, 0, side=16))
    number = sum(one.rounds[2]["kept"])
    least = torch.cat([weight.detach().abs().flatten() for weight in weights.values()]).sort().values[-number]
    null = {name: weight.abs() >= least for name, weight in weights.items()}
    ticket = tickets.load(folder / RUN.key / "round-02.safetensors").masks

    assert values["null"]["init"][2] == list(masks.kept(null).values())
    assert values["shared"]["init"] == [int((null[name] & ticket[name]).sum()) for name in null]


def test_shared_survivors_are_counted_layer_by_layer(measured):
    _, other, values, folder = measured
    first, second = (
        tickets.load(folder / key / "round-02.safetensors").masks for key in (RUN.key, other.config.key)
    )

    assert values["shared"][other.config.key] == [int((first[name] & second[name]).sum()) for name in first]


def test_norms_are_those_of_the_two_branches(measured, glyphs):
    _, _, values, folder = measured
    model = tickets.load(folder / RUN.key / "round-00.safetensors").model().eval()
    data = load(glyphs, RUN.data, 0)
    with torch.no_grad():
        images = model.stem(data.normalise(data.test.images[:500]))
        block = model.layer1[0]
        hidden = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(images)))))
    expected = float(images.flatten(1).norm(dim=1).mean() / hidden.flatten(1).norm(dim=1).mean())

    assert values["norms"]["dense"][0] == pytest.approx(expected, abs=2e-3)
    assert len(values["norms"]["ticket"]) == 4


def test_only_channels_that_nothing_writes_or_reads_are_dead():
    full = masks.ones(build(RUN.network, 0, side=16))
    assert layers.saved(full, SHAPE) == {"dead": 0, "channels": 1.0}

    full["layer1.0.conv1.weight"][2] = False  # nothing writes channel 2
    full["layer1.0.conv2.weight"][:, 3] = False  # nothing reads channel 3
    full["layer2.0.conv2.weight"][0] = False  # an output of a block stays
    found = layers.saved(full, SHAPE)

    sizes = {name: mask.numel() * profiles.positions(name) for name, mask in full.items()}
    halved = (sizes["layer1.0.conv1.weight"] + sizes["layer1.0.conv2.weight"]) / 2
    assert found["dead"] == 2
    assert found["channels"] == pytest.approx(1 - halved / sum(sizes.values()))


@pytest.mark.parametrize("side", [16, 32, 96])
def test_positions_are_those_of_a_real_network(side):
    model, found = build(NetworkConfig(width=4), 0, side=side), {}
    for name, part in model.named_modules():
        if isinstance(part, torch.nn.Conv2d):
            part.register_forward_hook(
                lambda _, __, out, name=name: found.update({f"{name}.weight": out.shape[-1] ** 2})
            )
    model.eval()(torch.zeros(1, 3, side, side))

    for name, places in found.items():
        assert profiles.positions(name, side) * found["layer1.0.conv1.weight"] == places, name


def test_a_measure_is_kept_sealed_beside_its_record(measured):
    _, _, values, folder = measured
    path = measures.save(RUN, "layers", values, str(folder))

    assert path.name == f"{RUN.key}.layers.json"
    assert measures.load(RUN, "layers", str(folder)) == values
    assert [made.config for made in record.load_all(str(folder))] != []  # records alone are read as records
    path.write_bytes(path.read_bytes().replace(b'"dead":', b'"daed":'))
    with pytest.raises(Damaged, match=r"layers\.json is damaged"):
        measures.load(RUN, "layers", str(folder))
    with pytest.raises(MissingRun, match=r"probe of .* was never measured"):
        measures.load(RUN, "probe", str(folder))


def two_layers(kept):
    made = made_up.record([0.4, 0.5])
    made.prunable.clear()
    made.prunable.update({"stem.0.weight": 100, "layer2.0.conv1.weight": 900})
    made.rounds[0]["kept"], made.rounds[1]["kept"] = [100, 900], kept
    return made


def test_chance_is_the_mean_of_a_draw_in_every_layer():
    made = two_layers([50, 90])

    kept, sizes = made.rounds[1]["kept"], made.prunable.values()
    assert profiles.over_chance([25, 9], kept, [50, 90], sizes) == pytest.approx(1)
    assert profiles.over_chance([50, 90], kept, [50, 90], sizes) == pytest.approx(140 / 34)


def test_work_counts_the_places_of_a_weight():
    made = two_layers([50, 90])

    assert profiles.work(made, 0) == 1
    assert profiles.work(made, 1) == pytest.approx((50 + 90 / 4) / (100 + 900 / 4))


def test_a_null_with_the_ticket_s_profile_explains_it_and_an_even_one_nothing():
    made = two_layers([50, 90])
    even = [14, 126]
    for null, share in (([50, 90], 100), (even, 0)):
        measure = {"round": 1, "null": {"init": [[], null], "rewind": [[], null]}}
        assert profiles.explained([made], [measure])["init"] == [pytest.approx(share)]


def test_parts_are_stem_shortcuts_and_stages():
    found = profiles.part_densities([two_layers([50, 90])])

    assert {name: list(values) for name, values in found.items()} == {"stage 2": [1, 0.1], "stem": [1, 0.5]}


def test_the_tables_of_the_page_hold_a_line_a_round(measured):
    one, _, values, _ = measured
    lines = tables.inside_table([one], [values]).splitlines()

    assert [line.split()[0] for line in lines[1:4]] == ["0", "1", "2"]
    assert lines[1].split()[1:4] == ["100.00", "100.0", "100.0"]
