"""Where a hub model's training states come from: crops of pictures or clips, with their captions and a reference.

picture or clip, reference, caption       cut by other processes, ahead of their use
-> VAE, text encoders, image encoder      on the device, when the slot begins
-> slot at x_eta
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stdvid.diffusion.schedule import grid_time
from stdvid.distill.ahead import Ahead
from stdvid.distill.bank import Trajectory
from stdvid.distill.data import VIDEO_SUFFIXES, Pool, bring_down, is_held_out, random_crop
from stdvid.distill.settings import DataSettings, StudentLoss
from stdvid.errors import InputError
from stdvid.media.random_access import DecordReader
from stdvid.models.latent_stylizer import LatentStylizer, Seen
from stdvid.models.prompts import TextEmbedding, embed, text_models

CAPTIONS_KEPT = 1024
"""Embeddings of captions that are kept for the next time they come."""

TRIES = 20
"""Clips that are tried, one after another, where some cannot be read."""


@dataclass(frozen=True)
class HubSlot(Trajectory):
    """A trajectory of a latent diffusion model, no batch axis: `x_0`, `x_t` [4, h, w], of a clip [F, 4, h, w]; its
    caption as `text` [L, C] and `pooled` [P]; `seen`, its reference as the network sees it, [n, ...]; `target`, a
    picture [3, P, P] of what is wanted. What a model has not is empty."""

    x_0: Tensor
    x_t: Tensor
    text: Tensor
    pooled: Tensor
    seen: Tensor
    target: Tensor
    guidance: float
    index: int


@dataclass(frozen=True)
class Item:
    """A slot before any network has seen it: `pictures` [F, 3, P, P] in [-1, 1], one if it is no clip; `reference`
    [3, P, P]; the seed of its noise."""

    pictures: Tensor
    reference: Tensor
    caption: str
    guidance: float
    index: int
    seed: int


@dataclass(frozen=True)
class Items:
    """Cuts items out of pictures with captions, or out of clips; each depends on its number alone."""

    pictures: Pool
    styles: Pool
    clips: tuple[Path, ...]
    data: DataSettings
    loss: StudentLoss
    key: tuple[int, ...]
    index: Callable[[np.random.Generator], int]

    def make(self, number: int) -> Item:
        """Item `number`."""
        rng = np.random.default_rng([*self.key, number])
        caption, size = "", self.data.crop_px
        if self.clips:
            pictures = self._clip(rng)
        else:
            picture, caption = self.pictures.draw_captioned(rng)
            pictures = random_crop(picture, size, rng)[None]
        reference = random_crop(self.styles.draw(rng), size, rng)
        guidance = float(rng.uniform(self.loss.guidance_min, self.loss.guidance_max))
        return Item(pictures, reference, caption, guidance, self.index(rng), int(rng.integers(2**62)))

    def _clip(self, rng: np.random.Generator) -> Tensor:
        """`frames` frames, `interval` apart, cut alike; clips that are damaged or too short are passed over."""
        frames, interval = self.data.frames, self.data.interval
        for _ in range(TRIES):
            path = self.clips[int(rng.integers(len(self.clips)))]
            crop_seed = int(rng.integers(2**62))
            try:
                with DecordReader(path) as reader:
                    room = len(reader) - (frames - 1) * interval
                    if room < 1:
                        continue
                    first = int(rng.integers(room))
                    images = reader.get([first + k * interval for k in range(frames)])
            except (InputError, IndexError):
                continue
            small = [bring_down(image, self.data.short_side_px) for image in images]
            return torch.stack(
                [random_crop(image, self.data.crop_px, np.random.default_rng(crop_seed)) for image in small]
            )
        raise InputError(
            f"of {TRIES} clips none has {frames} frames {interval} apart that can be read; longer or whole clips are "
            "needed; lower data.frames or data.interval"
        )


def training_clips(folders: tuple[str, ...]) -> tuple[Path, ...]:
    """Clips to train on, sorted; without those kept for evaluation. InputError if a folder is missing or has none."""
    found: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"'{folder}' is not a folder; training needs folders of clips; check the path")
        found += sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
    kept = tuple(path for path in found if not is_held_out(path.name)) or tuple(found)
    if folders and not kept:
        raise InputError(f"no clip in {', '.join(folders)}; {', '.join(sorted(VIDEO_SUFFIXES))} are; check the path")
    return kept


class HubSlots:
    """Slots by number: items as networks see them. See `slots.Items`."""

    def __init__(self, items: Items, stylizer: LatentStylizer, workers: int = 0) -> None:
        self.stylizer = stylizer
        self._items = Ahead(items.make, workers)
        self._embed = functools.lru_cache(CAPTIONS_KEPT)(self._embedded)

    @torch.no_grad()
    def take(self, number: int) -> HubSlot:
        """Slot `number`."""
        item, stylizer = self._items.take(number), self.stylizer
        pictures = item.pictures.to(stylizer.device)
        x_0 = stylizer.encode(pictures)
        noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(item.seed)).to(x_0)
        x_t = stylizer.schedule.add_noise(x_0, noise, torch.tensor([int(grid_time(item.index))], device=x_0.device))
        if len(pictures) == 1:
            x_0, x_t = x_0[0], x_t[0]
        text = self._embed(item.caption)
        seen = self._seen(item.reference)
        target = item.reference.to(stylizer.device) if seen.numel() else pictures[0]
        pooled = text.pooled[0] if text.pooled is not None else x_0.new_empty(0)
        return HubSlot(x_0, x_t, text.tokens[0].float(), pooled.float(), seen, target, item.guidance, item.index)

    def _seen(self, reference: Tensor) -> Tensor:
        seen: Seen = self.stylizer.encode_style([reference[None].to(self.stylizer.device)], 1.0)
        return seen.references[0][0].float() if seen.references else torch.empty(0, device=self.stylizer.device)

    def _embedded(self, caption: str) -> TextEmbedding:
        """A caption, as far as one chunk of it: all slots are to have one shape."""
        return embed([caption], *text_models(self.stylizer.pipeline), self.stylizer.device, chunks=1)[0]
