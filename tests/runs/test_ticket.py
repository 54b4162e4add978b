import json
import struct

import pytest
import torch
from conftest import density, opened
from PIL import Image
from safetensors.torch import save as serialise

from lthnb.config import NetworkConfig, RunConfig
from lthnb.images import splits as data
from lthnb.runs import files as store
from lthnb.runs import ticket as tickets
from lthnb.runs.files import UNSEALED, Damaged
from lthnb.runs.ticket import Shape, Ticket, TicketError
from lthnb.training import imp, masks
from lthnb.training import loop as train
from lthnb.training.networks import build

RUN = RunConfig.of(
    name="glyphs", images=60, side=16, val_limit=50, test_limit=50, model="resnet10", width=4,
    epochs=4, batch_size=20, rounds=2, rate=0.5, rewind_epoch=2,
)  # fmt: skip
SHAPE = Shape(RUN.network, 3, 16, tuple("0123456789"))


@pytest.fixture(scope="module")
def loaded(glyphs):
    return data.load(glyphs, RUN.data, seed=0)


@pytest.fixture(scope="module")
def last(loaded):
    *_, last = imp.rounds(RUN, loaded)
    return last


@pytest.fixture
def saved(loaded, last, tmp_path):
    mean, std = loaded.mean.flatten().tolist(), loaded.std.flatten().tolist()
    states = {"rewind": last.rewind, "trained": last.model.state_dict()}
    tickets.save(
        tmp_path / "t.safetensors", Ticket(SHAPE, last.masks, states, {"mean": mean, "std": std, "round": 2})
    )
    return tmp_path / "t.safetensors"


def test_a_ticket_survives_its_file(saved, last):
    ticket = tickets.load(saved)

    assert all(torch.equal(ticket.masks[name], mask) for name, mask in last.masks.items())
    for name, value in last.model.state_dict().items():
        assert torch.equal(ticket.model().state_dict()[name], value)
    assert ticket.shape == SHAPE
    assert ticket.about["round"] == 2


def test_a_loaded_ticket_trained_alone_equals_its_round_bit_for_bit(saved, loaded, last):
    ticket = tickets.load(saved)
    model = ticket.model("rewind")

    train.train(model, ticket.masks, loaded, RUN.train, seed=0, start=2)

    assert all(
        torch.equal(value, last.model.state_dict()[name]) for name, value in model.state_dict().items()
    )


def test_a_ticket_moves_to_another_data_set_and_class_count(saved, image_folder):
    source = opened(image_folder({"a": 30, "b": 30, "c": 30}))
    other = data.load(source, RUN.replace(name=source.facts.name, images=60, split="refit").data, 0)
    ticket = tickets.load(saved)
    model = ticket.model("rewind", classes=3, seed=1)

    train.train(model, ticket.masks, other, RUN.train, seed=0, start=2)

    assert model.head.weight.shape[0] == 3
    assert {n: int((w != 0).sum()) for n, w in masks.prunable(model).items()} == masks.kept(ticket.masks)


def test_a_ticket_classifies_an_image_file(saved, glyphs, loaded, last, tmp_path):
    pixels = loaded.test.images[0]
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "digit.png")

    found = tickets.load(saved).classify(tmp_path / "digit.png")
    logits = train.predict(last.model, loaded, pixels[None])

    assert found[0][0] == str(int(logits.argmax()))
    assert sum(chance for _, chance in found) == pytest.approx(1)


def test_sizes_at_paper_scale_are_those_promised(tmp_path):
    shape = Shape(NetworkConfig(), 3, 32, tuple("0123456789"))
    model = build(NetworkConfig(), 0)
    found = masks.ones(model)
    for _ in range(15):
        found = masks.prune_by_magnitude(masks.prunable(model), found, 0.2)
    one = tickets.save(tmp_path / "one", Ticket(shape, found, {"trained": model.state_dict()}, {}))
    both = tickets.save(
        tmp_path / "two", Ticket(shape, found, dict.fromkeys(("rewind", "trained"), model.state_dict()), {})
    )

    assert density(found) == pytest.approx(0.03518, abs=1e-5)
    assert one < 3.2e6
    assert both < 5e6


def rewrite(path, change):
    """Change a ticket's tensors and notes, and seal it as an attacker could."""
    packed, about = tickets.read_packed(path)
    change(packed, about)
    tickets.write_packed(path, packed, about)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p, a: p.pop("mask:stem.0.weight"), "mask:stem.0.weight should be torch.uint8"),
        (lambda p, a: p.update({"trained:extra": torch.zeros(1)}), "trained:extra is no parameter"),
        (
            lambda p, a: p.update({"trained:head.bias": torch.zeros(11)}),
            r"trained:head.bias should be .* found .*\(11,\)",
        ),
        (
            lambda p, a: p.update({"trained:head.bias": torch.zeros(10).half()}),
            "head.bias should be torch.float32",
        ),
        (
            lambda p, a: p.update({"trained:head.bias": torch.full((10,), torch.nan)}),
            "head.bias holds values that are not",
        ),
        (lambda p, a: p.pop("trained:head.bias"), "lacks some trained weights"),
        (lambda p, a: a["shape"]["network"].update(width=8), "should be"),
        (lambda p, a: a["shape"]["network"].update(width=10**9), "names no network"),
        (lambda p, a: a["shape"].update(channels="../x"), "names no network"),
        (lambda p, a: a.update(shape=None), "names no network"),
        (lambda p, a: a["shape"].update(side=-3), "names no network"),
        (lambda p, a: a["shape"].update(side=10**9), "names no network"),
        (lambda p, a: a.update(std=[1e9]), "mean and std are"),
        (lambda p, a: p.update({"evil:head.bias": torch.zeros(10)}), "not of a ticket"),
    ],
)
def test_what_does_not_fit_the_network_is_refused_before_it_is_built(saved, change, words):
    rewrite(saved, change)

    with pytest.raises(TicketError, match=words):
        tickets.load(saved)


def bomb(marker):
    class Bomb:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    return Bomb()


def hostile(marker):
    """Twelve kinds of file that run code, hang or lie in careless readers."""
    import collections
    import io
    import pickle
    import tarfile
    import zipfile

    import numpy as np

    plain, nested = pickle.dumps(bomb(marker)), pickle.dumps(collections.OrderedDict(a=[bomb(marker)]))
    saved, zipped, tarred, array = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"a": bomb(marker)}, saved)
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", plain)
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        member = tarfile.TarInfo("pickle")
        member.size = len(plain)
        archive.addfile(member, io.BytesIO(plain))
    np.save(array, np.array([bomb(marker)], dtype=object), allow_pickle=True)
    header = json.dumps(
        {"__metadata__": {"about": "!!python/object/apply:os.system ['x']", "seal": UNSEALED}}
    ).encode()
    huge = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    return {
        "pickle": plain,
        "nested pickle": nested,
        "protocol 0": pickle.dumps(bomb(marker), 0),
        "torch.save": saved.getvalue(),
        "zip archive": zipped.getvalue(),
        "legacy tar": tarred.getvalue(),
        "object array": array.getvalue(),
        "yaml tag": struct.pack("<Q", len(header)) + header,
        "huge header": struct.pack("<Q", 2**63) + b"{}",
        "huge tensor": struct.pack("<Q", len(huge)) + huge,
        "deep json": b"[" * 100_000,
        "empty": b"",
    }


@pytest.mark.parametrize("kind", hostile("nowhere"))
@pytest.mark.parametrize("sealed", [False, True])
def test_hostile_files_are_refused_and_nothing_is_executed(tmp_path, kind, sealed):
    from lthnb.runs import record

    marker, path = tmp_path / "marker", tmp_path / "gift.safetensors"
    content = hostile(marker)[kind]
    if sealed:
        seal = b'"seal":"%s"' % UNSEALED.encode()
        content = content.replace(b'"seal": "', b'"seal":"') if b'"seal": "' in content else content + seal
        content = store.seal(content)
    path.write_bytes(content)

    for read in (tickets.load, tickets.read_packed, record.read):
        with pytest.raises((Damaged, TicketError), match=r"gift\.safetensors"):
            read(path)
    assert not marker.exists()


def test_a_ticket_of_a_later_version_is_refused(tmp_path):
    text = json.dumps({"schema": 99})
    content = store.seal(serialise({"a": torch.zeros(1)}, {"about": text, "seal": UNSEALED}))
    (tmp_path / "t").write_bytes(content)

    with pytest.raises(Damaged, match="schema 99 is not 1"):
        tickets.load(tmp_path / "t")
