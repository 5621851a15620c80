"""Training pictures: folders of images (and videos) in memory, and crops drawn from them.

Every draw comes from a generator seeded by (seed, step), so a resumed run sees the data that it would have seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stdvid.distill.archives import ARCHIVE_SUFFIX, read_archive
from stdvid.errors import InputError
from stdvid.media.random_access import DecordReader

Image = NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v"})
FRAMES_PER_VIDEO = 8
_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES | {ARCHIVE_SUFFIX}
HELD_OUT_PERCENT = 5


def step_rng(seed: int, step: int, process: int = 0) -> np.random.Generator:
    """The generator of one training step, in one of several processes."""
    return np.random.default_rng([seed, step, process] if process else [seed, step])


def torch_generator(rng: np.random.Generator) -> torch.Generator:
    """A torch CPU generator seeded from a NumPy one."""
    return torch.Generator().manual_seed(int(rng.integers(2**62)))


def is_held_out(name: str) -> bool:
    """Whether a file name belongs to the fixed 5 % kept for evaluation (by a hash of the name)."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 < HELD_OUT_PERCENT


def is_page(image: Image) -> bool:
    """Whether a picture is nearly blank: more than 85 % of its pixels within 12 grey levels of one another.

    Pages of text, cut-outs on white and star charts teach no brushwork.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    histogram = np.bincount(grey.ravel(), minlength=256).astype(np.float64)
    return bool(np.convolve(histogram, np.ones(12), "valid").max() > 0.85 * grey.size)


def read_image(path: Path, short_side_px: int) -> Image | None:
    """Read a picture as RGB with its short side brought down to `short_side_px`; None if it cannot be decoded."""
    return _decoded(np.fromfile(path, np.uint8), short_side_px)


def _decoded(data: NDArray[np.uint8], short_side_px: int) -> Image | None:
    raw = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    return None if raw is None else bring_down(cast(Image, raw[:, :, ::-1]), short_side_px)


def bring_down(image: Image, short_side_px: int) -> Image:
    """Reduce a picture to a short side of at most `short_side_px`; never enlarge it."""
    scale = short_side_px / min(image.shape[:2])
    if scale < 1:
        image = cast(Image, cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return np.ascontiguousarray(image)


def read_video(path: Path, short_side_px: int) -> list[Image]:
    """FRAMES_PER_VIDEO frames spread over a clip, brought down like pictures; none if it cannot be read."""
    try:
        with DecordReader(path) as reader:
            picks = np.linspace(0, len(reader) - 1, FRAMES_PER_VIDEO).round().astype(int)
            return [bring_down(frame, short_side_px) for frame in reader.get(sorted(set(picks.tolist())))]
    except (InputError, IndexError):
        return []


@dataclass(frozen=True)
class Pool:
    """Pictures in memory, uint8 [H, W, 3] each, with the probability of drawing each."""

    names: tuple[str, ...]
    images: tuple[Image, ...]
    probabilities: NDArray[np.float64]
    captions: tuple[str, ...] = ()

    def draw(self, rng: np.random.Generator) -> Image:
        """One picture."""
        return self.images[int(rng.choice(len(self.images), p=self.probabilities))]

    def draw_captioned(self, rng: np.random.Generator) -> tuple[Image, str]:
        """One picture and its caption, empty where it has none."""
        number = int(rng.choice(len(self.images), p=self.probabilities))
        return self.images[number], self.captions[number] if self.captions else ""


def load_pool(
    folders: Sequence[Path],
    *,
    short_side_px: int = 320,
    held_out: bool = False,
    weights: Mapping[str, float] | None = None,
    skip_pages: bool = False,
) -> Pool:
    """Load the training part (or the held-out part) of folders of images, videos and WebDataset shards, sorted by name.

    `weights` maps a file-name prefix to its relative worth (default 1). `skip_pages` drops nearly blank pictures.
    Raises InputError for a missing folder or when nothing usable is left.
    """
    paths = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"'{folder}' is not a folder; training needs folders of images; check the path")
        paths += sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)
    with ThreadPoolExecutor(4) as threads:
        loaded = list(threads.map(lambda p: _read(p, short_side_px), paths))
    kept = [
        picture
        for pictures in loaded
        for picture in pictures
        if is_held_out(picture.name) == held_out
        and min(picture.image.shape[:2]) >= 64
        and not (skip_pages and is_page(picture.image))
    ]
    worth = np.array([_worth(picture.name, weights or {}) for picture in kept], np.float64)
    if not kept or worth.sum() == 0:
        raise InputError(f"no usable image in {', '.join(map(str, folders))}; png, jpeg and webp of 64 px and more are")
    names, images, captions = zip(*((p.name, p.image, p.caption) for p in kept), strict=True)
    return Pool(names, images, worth / worth.sum(), captions)


@dataclass(frozen=True)
class _Picture:
    name: str
    image: Image
    caption: str = ""


def _read(path: Path, short_side_px: int) -> list[_Picture]:
    """The pictures of a file: of an image with the caption in the text file beside it, of a clip or an archive all."""
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return [_Picture(path.name, image) for image in read_video(path, short_side_px)]
    if suffix == ARCHIVE_SUFFIX:
        samples = (
            (name, _decoded(np.frombuffer(data, np.uint8), short_side_px), caption)
            for name, data, caption in read_archive(path, IMAGE_SUFFIXES)
        )
        return [_Picture(name, image, caption) for name, image, caption in samples if image is not None]
    image = read_image(path, short_side_px)
    words = path.with_suffix(".txt")
    caption = words.read_text(encoding="utf-8", errors="replace").strip() if words.is_file() else ""
    return [] if image is None else [_Picture(path.name, image, caption)]


def _worth(name: str, weights: Mapping[str, float]) -> float:
    matches = [prefix for prefix in weights if name.startswith(prefix)]
    return weights[max(matches, key=len)] if matches else 1.0


def random_crop(
    image: Image, size_px: int, rng: np.random.Generator, scale: tuple[float, float] = (0.7, 1.3)
) -> Tensor:
    """A square crop of `size_px` times U(scale) pixels, resized to `size_px`, mirrored half of the time.

    Returns float [3, size, size] in [-1, 1].
    """
    height, width = image.shape[:2]
    side = min(round(size_px * rng.uniform(*scale)), height, width)
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    crop: NDArray[Any] = image[top : top + side, left : left + side]
    if side != size_px:
        crop = cv2.resize(crop, (size_px, size_px), interpolation=cv2.INTER_AREA if side > size_px else cv2.INTER_CUBIC)
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1).float() / 127.5 - 1
