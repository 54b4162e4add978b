"""What a network is trained to make small."""

import pytest
import torch

from lthnb import config
from lthnb.training.objectives import OBJECTIVES


def test_objectives_are_those_that_a_configuration_may_name():
    assert tuple(OBJECTIVES) == config.OBJECTIVES


def test_cross_entropy_is_the_mean_over_images_in_fp32():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.bfloat16)
    labels = torch.tensor([0, 0])

    loss = OBJECTIVES["cross_entropy"](lambda images: images, logits, labels)

    chances = logits.float().softmax(1)[:, 0]
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(-chances.log().mean().item())
