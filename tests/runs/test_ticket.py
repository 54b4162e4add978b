"""A ticket as one file: what it gives back, what it says of itself, and the files it refuses."""

import dataclasses
import json
import struct

import pytest
import safetensors.torch
import torch
from conftest import opened
from helpers import small
from helpers.small import DIGITS, WIDER, architecture, density
from PIL import Image
from safetensors.torch import save as serialise

from lthnb.config import NetworkConfig, UserError
from lthnb.images.dataset import DataError
from lthnb.images.splits import load
from lthnb.runs import files, record
from lthnb.runs.files import UNSEALED, Damaged
from lthnb.runs.packed import TicketError, read_packed, write_packed
from lthnb.runs.ticket import Ticket, own_ticket, ticket_path
from lthnb.training import loop, masks
from lthnb.training.loop import History
from lthnb.training.networks import Architecture, build, prunable

RUN = WIDER.replace(rounds=2, rate=0.5)
KEY = RUN.key


@pytest.fixture(scope="module")
def last(loaded):
    """The last round of a run."""
    *_, last = small.rounds(RUN, loaded)
    return last


@pytest.fixture
def saved(loaded, last, tmp_path):
    """The file of a ticket."""
    about = {
        "key": KEY,
        "round": 2,
        "data": "glyphs",
        "mean": loaded.mean.flatten().tolist(),
        "std": loaded.std.flatten().tolist(),
    }
    states = {"rewind": last.rewind, "trained": last.model.state_dict()}
    path = tmp_path / "t.safetensors"
    Ticket(architecture(RUN), last.masks, states, about).save(path)
    return path


def trained_alone(model, kept, data):
    """Train a ticket from its rewind weights to the end."""
    step = loop.make_step(model, data, RUN.train)
    step.begin(kept)
    list(loop.train(step, RUN.train, History(), seed=0, start=2))


def test_a_ticket_survives_its_file(saved, last):
    ticket = Ticket.load(saved)

    assert all(torch.equal(ticket.masks[name], mask) for name, mask in last.masks.items())
    for name, value in last.model.state_dict().items():
        assert torch.equal(ticket.model().state_dict()[name], value)
    assert ticket.architecture == architecture(RUN)
    assert ticket.about["round"] == 2


def test_a_loaded_ticket_that_is_saved_holds_the_same(saved, tmp_path):
    """The same bytes, though safetensors writes the fields of its header in a random order."""
    again = tmp_path / "again.safetensors"
    for _ in range(10):
        size = Ticket.load(saved).save(again)
        assert size == saved.stat().st_size
        assert again.read_bytes() == saved.read_bytes()


def test_a_ticket_is_read_by_safetensors_and_its_tensors_are_aligned(saved):
    header = int.from_bytes(saved.read_bytes()[:8], "little")
    read = safetensors.torch.load_file(saved)
    packed, _ = read_packed(saved)

    assert header % 8 == 0
    assert packed.keys() == read.keys()
    assert all(torch.equal(value, read[name]) for name, value in packed.items())


def test_a_ticket_whose_header_stands_in_another_order_is_read(saved):
    """As all were that safetensors wrote before the order was fixed."""
    packed, about = read_packed(saved)
    content = files.seal(serialise(packed, {"seal": UNSEALED, "about": json.dumps(about)}))
    saved.write_bytes(content)

    assert Ticket.load(saved).about["round"] == 2


def test_a_ticket_tells_shape_density_and_source_and_no_tensors(saved):
    assert repr(Ticket.load(saved)) == (
        "Ticket(resnet10 width 4; 3x16x16 images, 10 classes; 25.00 % of 19,212 weights; "
        f"weights: rewind and trained; from round 2 of run {KEY}; found on glyphs)"
    )
    bare = dataclasses.replace(Ticket.load(saved), states={}, about={})
    assert repr(bare) == (
        "Ticket(resnet10 width 4; 3x16x16 images, 10 classes; 25.00 % of 19,212 weights; "
        "weights: none; from round ? of run ?)"
    )


def test_a_loaded_ticket_trained_alone_equals_its_round_bit_for_bit(saved, loaded, last):
    ticket = Ticket.load(saved)
    model = ticket.model("rewind")

    trained_alone(model, ticket.masks, loaded)

    for name, value in model.state_dict().items():
        assert torch.equal(value, last.model.state_dict()[name]), name


def test_a_ticket_moves_to_another_data_set_and_class_count(saved, image_folder):
    source = opened(image_folder({"a": 30, "b": 30, "c": 30}))
    other = load(source, RUN.replace(name=source.info.name, images=60, split="refit").data, 0)
    ticket = Ticket.load(saved)
    model = ticket.model("rewind", classes=3, seed=1)

    trained_alone(model, ticket.masks, other)

    left = {name: int((weight != 0).sum()) for name, weight in prunable(model).items()}
    assert model.head.weight.shape[0] == 3
    assert left == masks.survivors(ticket.masks)


def test_a_ticket_classifies_an_image_file(saved, loaded, last, tmp_path):
    pixels = loaded.test.images[0]
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "digit.png")

    classes = Ticket.load(saved).classify(tmp_path / "digit.png")
    logits = loop.predict(last.model, loaded, pixels[None])

    assert classes[0][0] == str(int(logits.argmax()))
    assert sum(chance for _, chance in classes) == pytest.approx(1)


def test_a_picture_that_is_missing_or_broken_is_one_sentence(saved, tmp_path):
    ticket = Ticket.load(saved)
    picture = tmp_path / "digit.png"
    with pytest.raises(DataError, match=rf"{picture} cannot be read: No such file"):
        ticket.classify(picture)
    Image.effect_noise((64, 64), 50).save(picture)
    picture.write_bytes(picture.read_bytes()[:1000])
    with pytest.raises(DataError, match=rf"{picture} is damaged: "):
        ticket.classify(picture)
    picture.write_text("no picture")
    with pytest.raises(DataError, match=rf"{picture} is not a PNG, JPEG or WebP image"):
        ticket.classify(picture)


def test_a_picture_is_turned_as_its_exif_says(saved, tmp_path):
    ticket = Ticket.load(saved)
    upright = Image.effect_noise((64, 64), 50).convert("RGB")
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)

    assert ticket.classify(tmp_path / "turned.png") == ticket.classify(tmp_path / "upright.png")


def test_a_ticket_without_mean_or_std_says_what_it_cannot_do(saved, tmp_path):
    ticket = Ticket.load(saved)
    for name in ("mean", "std"):
        about = {key: value for key, value in ticket.about.items() if key != name}
        with pytest.raises(TicketError, match=f"this ticket has no {name} of its images"):
            dataclasses.replace(ticket, about=about).classify(tmp_path / "digit.png")


def test_a_ticket_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=rf"there is no file {tmp_path / 'nowhere'}"):
        Ticket.load(tmp_path / "nowhere")


def test_weights_that_a_ticket_does_not_hold_are_refused_by_name(saved):
    ticket = Ticket.load(saved)

    with pytest.raises(TicketError, match="this ticket has rewind, trained weights, not 'late'"):
        ticket.model("late")
    with pytest.raises(TicketError, match="not 'trained'"):
        dataclasses.replace(ticket, states={"rewind": ticket.states["rewind"]}).model()


def test_masks_are_read_from_the_ticket_of_their_run_and_round_alone(saved, tmp_path, last):
    folder = tmp_path / KEY
    path = ticket_path(folder, 2)
    ticket = Ticket.load(saved)
    ticket.save(path)
    assert all(torch.equal(mask, last.masks[name]) for name, mask in own_ticket(path).masks.items())

    for about in ({"round": 1}, {"key": "0" * 16}):
        dataclasses.replace(ticket, about={**ticket.about, **about}).save(path)
        with pytest.raises(
            TicketError, match=rf"round-02.safetensors of {KEY} holds round .* of .*; remove it"
        ):
            own_ticket(path)


def test_sizes_at_paper_scale_are_those_promised(tmp_path):
    papers = Architecture(NetworkConfig(), 3, 32, DIGITS)
    model = build(papers, 0)
    kept = masks.ones(model)
    for _ in range(15):
        kept = masks.prune_by_magnitude(prunable(model), kept, 0.2)
    state = model.state_dict()
    one = Ticket(papers, kept, {"trained": state}, {}).save(tmp_path / "one")
    both = Ticket(papers, kept, {"rewind": state, "trained": state}, {}).save(tmp_path / "two")

    assert density(kept) == pytest.approx(0.03518, abs=1e-5)
    assert one < 3.2e6
    assert both < 5e6


def rewrite(path, change):
    """Change a ticket's tensors and notes, and seal it as an attacker could."""
    packed, about = read_packed(path)
    change(packed, about)
    write_packed(path, packed, about)


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
        (lambda p, a: a["shape"]["network"].update(width=10**9), "holds no ticket"),
        (lambda p, a: a["shape"].update(channels="../x"), "holds no ticket"),
        (lambda p, a: a.update(shape=None), "holds no ticket"),
        (lambda p, a: a["shape"].update(side=-3), "holds no ticket"),
        (lambda p, a: a["shape"].update(side=10**9), "holds no ticket"),
        (lambda p, a: a.update(std=[1e9]), "mean and std are"),
        (lambda p, a: a.update(std=[0.2, 0.0, 0.2]), r"mean and std are .* and \[0\.2, 0\.0, 0\.2\]"),
        (lambda p, a: a.update(std=[0.2, -0.2, 0.2]), "mean and std are"),
        (lambda p, a: a.update(std=["nan"] * 3), "mean and std are"),
        (lambda p, a: a.pop("std"), r"mean and std are .* and \[\]"),
        (lambda p, a: a.pop("mean"), r"mean and std are \[\] and"),
        (lambda p, a: a.update(mean=None), "holds no ticket"),
        (
            lambda p, a: p["trained:stem.1.running_var"].neg_(),
            "trained:stem.1.running_var holds a negative variance",
        ),
        (lambda p, a: p.update({"evil:head.bias": torch.zeros(10)}), "not of a ticket"),
    ],
)
def test_what_does_not_fit_the_network_is_refused_before_it_is_built(saved, change, words):
    rewrite(saved, change)

    with pytest.raises(TicketError, match=rf"t\.safetensors.*{words}"):
        Ticket.load(saved)


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

    plain = pickle.dumps(bomb(marker))
    nested = pickle.dumps(collections.OrderedDict(a=[bomb(marker)]))
    saved, zipped, tarred, array = (io.BytesIO() for _ in range(4))
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
    marker = tmp_path / "marker"
    path = tmp_path / "gift.safetensors"
    content = hostile(marker)[kind]
    if sealed:
        seal = b'"seal":"%s"' % UNSEALED.encode()
        content = content.replace(b'"seal": "', b'"seal":"') if b'"seal": "' in content else content + seal
        content = files.seal(content)
    path.write_bytes(content)

    for read in (Ticket.load, read_packed, record.read):
        with pytest.raises((Damaged, TicketError), match=r"gift\.safetensors"):
            read(path)
    assert not marker.exists()


def test_a_ticket_of_a_later_version_is_refused(tmp_path):
    text = json.dumps({"schema": 99})
    content = files.seal(serialise({"a": torch.zeros(1)}, {"about": text, "seal": UNSEALED}))
    (tmp_path / "t").write_bytes(content)

    with pytest.raises(Damaged, match="schema 99 is not 1"):
        Ticket.load(tmp_path / "t")
