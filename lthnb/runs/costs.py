"""How long runs take on a machine like those known, counted from multiply-adds."""

import math

from lthnb.config import RunConfig
from lthnb.images.dataset import DatasetInfo
from lthnb.training.imp import epoch_spans, epochs
from lthnb.training.networks import Architecture, multiply_adds

USUAL_CLASSES = tuple("0123456789")
USUAL_TEST = 10_000  # images of a test set of usual size


def cost(config: RunConfig, info: DatasetInfo, device: str = "cpu") -> float:
    """Seconds that a run may take; a rough guess, which a sweep sets right by the runs that ended.

    Counted from the operations of a forward pass, of which a training step takes three (AdvProp eight), and
    from what every step and every run takes besides. Each training ends with an evaluation of train, val and
    test.
    """
    architecture = Architecture(config.network, 3, config.data.side or 32, USUAL_CLASSES)
    forward = 2 * sum(multiply_adds(architecture).values())  # operations for one image
    trained = config.data.images * epochs(config)
    tail = config.data.long_tail
    if tail:
        trained *= (tail - 1) / math.log(tail)  # about what a geometric series of classes keeps
    val = min(info.pool // 10, config.data.val_limit)
    images = config.data.images + val + (config.data.test_limit or USUAL_TEST)
    glance = 0.08 if device == "cuda" else 0.6  # an evaluation of test alone, before the last epoch
    evaluated = images * len(epoch_spans(config)) * (1 + glance * (config.train.evaluate_last - 1))
    steps = trained / config.train.batch_size
    passes = 8 if config.train.objective == "advprop" else 3
    if device == "cuda":
        return 2 + 0.0006 * steps + passes * trained * forward / 350e12 + evaluated * forward / 30e12
    return 2 + 0.004 * steps + 4e-5 * trained + (passes * trained + evaluated) * forward / 1.6e11
