"""The plain way to do what lthnb does, for comparison: torch's own pruning hooks, no tricks."""

import math

import torch
from PIL import Image
from torch.nn import functional as F
from torch.nn.utils import prune


def masks_after(model, rates):
    """Masks of ``torch.nn.utils.prune.global_unstructured`` after pruning at ``rates`` one by one."""
    parts = [(part, "weight") for part in model.modules() if isinstance(part, torch.nn.Conv2d)]
    for rate in rates:
        prune.global_unstructured(parts, pruning_method=prune.L1Unstructured, amount=rate)
    return [part.weight_mask.bool() for part, _ in parts]


def train(model, images, labels, config, orders):
    """SGD over given float images, one list of index batches per epoch, cosine learning rate."""
    sgd = torch.optim.SGD(
        model.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay, foreach=False
    )
    model.train()
    for epoch, order in enumerate(orders):
        for group in sgd.param_groups:
            group["lr"] = config.lr * 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))
        for batch in order:
            loss = F.cross_entropy(model(images[epoch][batch]), labels[batch])
            sgd.zero_grad()
            loss.backward()
            sgd.step()


class Pictures(torch.utils.data.Dataset):
    """Images as a loader gets them: one Pillow image at a time through torchvision's transforms."""

    def __init__(self, split, mean, std, augmented, policy):
        from torchvision import transforms

        side = split.images.shape[-1]
        base = (
            [transforms.RandomCrop(side, side // 8), transforms.RandomHorizontalFlip()] if augmented else []
        )
        base += [policy] if policy else []
        normal = transforms.Normalize(mean.flatten().tolist(), std.flatten().tolist())
        self.transform = transforms.Compose([*base, transforms.ToTensor(), normal])
        self.images = [Image.fromarray(image.permute(1, 2, 0).numpy().copy()) for image in split.images]
        self.labels = split.labels.tolist()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(self.images[index]), self.labels[index]


def loader(split, data, batch_size, augmented, policy=None):
    pictures = Pictures(split, data.mean, data.std, augmented, policy)
    return torch.utils.data.DataLoader(pictures, batch_size, shuffle=augmented, num_workers=0)


def epoch(model, sgd, batches):
    """One epoch as most code writes it: a loader, fp32, the loss read at every step."""
    model.train()
    total = 0.0
    for images, labels in batches:
        loss = F.cross_entropy(model(images), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        total += loss.item()
    return total


@torch.no_grad()
def evaluate(model, batches):
    """Right answers, read batch by batch."""
    model.eval()
    return sum((model(images).argmax(1) == labels).sum().item() for images, labels in batches)


def hooked(model):
    """A model with torch's pruning hooks and masks of one, in torch's usual memory format."""
    model = model.to(memory_format=torch.contiguous_format)
    for part in model.modules():
        if isinstance(part, torch.nn.Conv2d):
            prune.identity(part, "weight")
    return model
