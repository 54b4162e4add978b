"""Images changed within a bound so that a network errs, in units of pixels; by captum."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lthnb.images.splits import Data, Split
from lthnb.training.loop import predict

AT_ONCE = {"cpu": 100, "cuda": 1000}  # images


def adversarial(
    model: nn.Module,
    data: Data,
    split: Split,
    radius: float = 8 / 255,
    steps: int = 0,
    step: float = 2 / 255,
) -> Tensor:
    """Attack a network in evaluation mode, starting from the images themselves.

    Args:
        data: whose mean and std the network was trained with.
        split: (N, C, H, W) uint8 images and their labels.
        radius: how far a pixel value may move, in [0, 1].
        steps: 0: one step as long as the radius along the sign of the gradient (FGSM); else so many of length
            ``step``, each led back into the bound (PGD).

    Returns:
        (N, C, H, W) float32 in [0, 1].

    Source: Goodfellow et al. (2015) for FGSM, Madry et al. (2018) for PGD.
    """
    from captum.robust import FGSM, PGD  # here, since runs are made on machines without it

    model.eval()

    def logits(pixels: Tensor) -> Tensor:
        return model(data.normalise(255 * pixels))

    def losses(outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels, reduction="none")

    bounds = {
        "loss_func": losses,
        "lower_bound": 0.0,
        "upper_bound": 1.0,
    }
    attacked = []
    number = AT_ONCE[split.labels.device.type]
    for images, labels in zip(split.images.split(number), split.labels.split(number), strict=True):
        pixels = (images / 255).requires_grad_()
        with warnings.catch_warnings(action="ignore"):  # captum's, that it turns gradients on
            if steps:
                bound = {
                    "radius": radius,
                    "step_size": step,
                    "step_num": steps,
                }
                attacked.append(PGD(logits, **bounds).perturb(pixels, target=labels, **bound))
            else:
                attacked.append(FGSM(logits, **bounds).perturb(pixels, epsilon=radius, target=labels))
    return torch.cat(attacked).detach()


def withstood(model: nn.Module, data: Data, split: Split, **attack: float) -> int:
    """Count the images that a network classifies rightly before an attack and after it."""
    changed = adversarial(model, data, split, **attack)
    guesses = (predict(model, data, images).argmax(1) for images in (split.images, 255 * changed))
    before, after = (guess == split.labels for guess in guesses)
    return int((before & after).sum())
