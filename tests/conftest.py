"""Small data sets on disk and in memory, one thread, and real images where ``LTHNB_DATA`` points to them."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import small
from PIL import Image

from lthnb.images import glyphs as rendered
from lthnb.images import splits
from lthnb.images.dataset import Source
from lthnb.images.folder import folder as open_folder
from lthnb.pages.parameters import Parameters

torch.set_num_threads(1)
os.environ.pop("LTHNB_HOST", None)
os.environ["LTHNB_OFFLINE"] = "1"  # no download is ever tried in a test


@pytest.fixture(scope="session")
def glyphs() -> Source:
    """Rendered digits."""
    return rendered.glyphs()


@pytest.fixture(scope="session")
def loaded(glyphs) -> splits.Data:
    """The splits of the small run: 60 images to train, 50 of val, 50 of test."""
    return splits.load(glyphs, small.SMALL.data, seed=0)


@pytest.fixture
def image_folder(tmp_path) -> Callable[..., Path]:
    """A function that writes ``train`` and ``test`` folders of random 20x20 images, class -> number."""

    def write(
        train: dict[str, int], test: dict[str, int] | None = None, name: str = "pets", mode: str = "RGB"
    ) -> Path:
        draw = np.random.default_rng(0)
        for split, classes in (("train", train), ("test", test or dict.fromkeys(train, 2))):
            for label, number in classes.items():
                target = tmp_path / name / split / label
                target.mkdir(parents=True)
                for index in range(number):
                    shape = (20, 20, 3) if mode == "RGB" else (20, 20)
                    Image.fromarray(draw.integers(0, 256, shape, np.uint8)).save(target / f"{index:03}.png")
        return tmp_path / name

    return write


@pytest.fixture
def page(tmp_path) -> Parameters:
    """The parameters of a smoke page that writes its records into a temporary folder."""
    return Parameters(
        profile="smoke",
        seeds=1,
        train=True,
        device="cpu",
        runs=str(tmp_path / "runs"),
        dataset="glyphs",
        data_root="",
        fraction=60,
        precision="fp32",
    )


@pytest.fixture(scope="session")
def real_images() -> Callable[[str], Path]:
    """Path of an archive of real images by stem; the test is skipped where it is missing."""

    def path(stem: str) -> Path:
        archive = Path(os.environ.get("LTHNB_DATA", "data")) / f"{stem}.tar.xz"
        if not archive.exists():
            pytest.skip(f"{archive.name} is not under LTHNB_DATA")
        return archive

    return path


def pack(folder: Path, target: Path, mode: str = "w") -> Path:
    """Pack a folder into a tar archive under its own name."""
    with tarfile.open(target, mode) as archive:
        archive.add(folder, folder.name)
    return target


def tar_of(target: Path, files: dict[str, bytes]) -> Path:
    """Write a tar archive of the given members."""
    with tarfile.open(target, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target


def opened(path: Path) -> Source:
    """The images of a folder or archive."""
    return open_folder(path)
