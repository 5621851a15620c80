"""Where training states come from: a photograph in the palette of a reference, noised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from stdvid.diffusion.schedule import Schedule, grid_time
from stdvid.distill.ahead import Ahead
from stdvid.distill.bank import Trajectory
from stdvid.distill.data import Pool, random_crop, torch_generator
from stdvid.distill.settings import StudentLoss
from stdvid.models.palette import ColourMap, Palette
from stdvid.models.patches import encode
from stdvid.models.structure import structure_map
from stdvid.models.style_encoder import STYLE_CROP_PX

TARGET_CROP_PX = 256

S = TypeVar("S", bound=Trajectory)
S_co = TypeVar("S_co", bound=Trajectory, covariant=True)


@dataclass(frozen=True)
class Slot(Trajectory):
    """A trajectory of nano, no batch axis: `x_0`, `x_t` [48, h, w], `structure` [16, h, w], `reference` [3, S, S] (the
    style crop that is its condition), `target` [3, P, P] (another crop of that picture), `guidance`, grid `index` of
    x_t."""

    x_0: Tensor
    x_t: Tensor
    structure: Tensor
    reference: Tensor
    target: Tensor
    guidance: float
    index: int


@dataclass(frozen=True)
class SlotSource:
    """Makes slots as stylization will meet them: content from `photos`, palette and style from `styles`.

    `workers` processes make them ahead of their use; 0: this one, when they are asked for.
    """

    photos: Pool
    styles: Pool
    schedule: Schedule
    loss: StudentLoss
    workers: int = 0

    def stream(
        self, key: tuple[int, ...], crop_px: int, index: Callable[[np.random.Generator], int]
    ) -> SlotStream[Slot]:
        """Slots one after another, each from a generator seeded by `key` and its number; `index` draws from it too."""

        def make(number: int) -> Slot:
            rng = np.random.default_rng([*key, number])
            return self.draw(rng, crop_px, index(rng))

        return SlotStream(Ahead(make, self.workers))

    def draw(self, rng: np.random.Generator, crop_px: int, index: int) -> Slot:
        """A slot at `index` of the solver grid: at the start index, the beginning of a trajectory."""
        photo = random_crop(self.photos.draw(rng), crop_px, rng)[None]
        picture = self.styles.draw(rng)
        reference = random_crop(picture, STYLE_CROP_PX, rng, (0.8, 1.6))
        target = random_crop(picture, min(TARGET_CROP_PX, *picture.shape[:2]) // 16 * 16, rng, (1.0, 1.3))
        amount = float(rng.choice([1.0, 1.0, 0.7]))
        matched = ColourMap.between(Palette.of(photo), Palette.of(target[None])).apply(photo, amount)
        x_0 = encode(matched)
        noise = torch.randn(x_0.shape, generator=torch_generator(rng))
        x_t = self.schedule.add_noise(x_0, noise, torch.tensor([int(grid_time(index))]))
        structure = encode(structure_map(photo, rng.uniform(0.8, 2.0)))
        guidance = float(rng.uniform(self.loss.guidance_min, self.loss.guidance_max))
        return Slot(x_0[0], x_t[0], structure[0], reference, target, guidance, index)


class Items(Protocol[S_co]):
    """Slots by number."""

    def take(self, number: int) -> S_co: ...


class SlotStream(Generic[S]):
    """Fresh slots; `begun`, how many there have been, is all that a resumed run needs to know."""

    def __init__(self, items: Items[S]) -> None:
        self._items, self.begun = items, 0

    def __call__(self) -> S:
        """The next one."""
        self.begun += 1
        return self._items.take(self.begun - 1)
