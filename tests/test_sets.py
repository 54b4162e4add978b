import pytest
import torch

from lthnb import sets
from lthnb.config import DataMissing


def test_an_image_is_a_function_of_split_and_index_alone(glyphs):
    alone = glyphs.read("train", torch.tensor([7]), 32)
    among = glyphs.read("train", torch.tensor([3, 7, 9]), 32)

    assert torch.equal(alone[0], among[1])
    assert glyphs.labels["train"][7] == 7


def test_splits_hold_different_images(glyphs):
    images = [glyphs.read(split, torch.arange(50), 32) for split in sets.SIZES]

    assert all(not torch.equal(a, b) for a in images for b in images if a is not b)


def test_sizes_and_balance_are_those_of_cifar10(glyphs):
    assert glyphs.labels["train"].bincount().tolist() == [5000] * 10
    assert glyphs.labels["test"].bincount().tolist() == [1000] * 10
    assert (glyphs.facts.side, glyphs.facts.channels) == (32, 3)


def test_the_shifted_split_uses_fonts_of_its_own():
    assert not set(sets.FONTS) & set(sets.UNSEEN)


def test_auto_says_why_it_took_glyphs():
    assert "rendered digits" in sets.open_source("auto").note
    assert sets.open_source("glyphs").note == ""


def test_a_missing_folder_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(DataMissing, match=str(tmp_path)):
        sets.open_source("folder:nowhere", str(tmp_path))
