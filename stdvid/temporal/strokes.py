"""Painted strokes are taken over: moved to where their things are now, as sharp as they were, in the light of now.

    pictures painted before --origin--> moved --sharpened--> light of the new picture + strokes of the old

Pictures are float32 [H, W, 3] of any range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from stdvid.temporal.flow import squared, warp
from stdvid.temporal.origin import Origin
from stdvid.temporal.propagate import KEPT, Match, Picture
from stdvid.temporal.sharp import Sharp

DETAIL_PX, DETAIL_AREA_PX, DETAIL_GAIN = 1.0, 12.0, 1.1
"""Detail is what a blur of DETAIL_PX takes away; its strength is compared over areas of DETAIL_AREA_PX, and raised by
DETAIL_GAIN a frame at most."""

SMALLER, SMALLEST_PX = 4, 32
"""Wide blurs are made in pictures of so many times smaller sides, but for those of less than SMALLEST_PX."""

LIGHT_PX = 8.0
"""Standard deviation of the blur that parts light, which is always new, from strokes."""


def follow(x: Picture, befores: Sequence[Picture], origin: Origin) -> Picture:
    """`x` [H, W, 3], taking over the strokes of `befores` as far as their `origin` is trusted.

    Strokes are what is finer than LIGHT_PX; light and colour are those of `x`: they follow the source at once.
    """
    moved = _sharpened(origin.moved([Sharp(before) for before in befores]), detail(x))
    moved += light(x - moved)
    result: Picture = x + origin.trust * (moved - x)
    return result


@dataclass(frozen=True)
class Drawn:
    """A finished frame: its `picture` [H, W, 3], its `ground` [H, W, 3] before anything was painted, and how strong its
    `detail` is, [H, W, 1]."""

    picture: Sharp
    ground: Picture
    detail: Picture

    @cached_property
    def small_ground(self) -> Picture:
        """Of which its light is taken."""
        return _smaller(self.ground)


def follow_drawn(x: Picture, befores: Sequence[Drawn], matches: Sequence[Match], ground: Picture) -> Picture:
    """As `follow`, where `befores` are finished and `x` is not yet; by the `matches` of `x`'s frame in theirs, of which
    the last goes before the others.

    What was drawn stays: its detail keeps the strength that it had, and nothing of `x` is mixed in where a match is
    trusted wholly. Light and colour change as those of `ground` do, the frame [H, W, 3] before anything is painted.
    """
    origin = Origin(matches, KEPT)
    moved = origin.moved([before.picture for before in befores])
    moved = _sharpened(moved, origin.moved([before.detail for before in befores]))
    small = _smaller(ground)
    relit = [_relit(before, found, small) for before, found in zip(befores, matches, strict=True)]
    moved += origin.mixed([_larger(light, ground) for light in relit])
    result: Picture = x + origin.trust * (moved - x)
    return result


def _relit(before: Drawn, found: Match, now: Picture) -> Picture:
    """How light has changed since, for each pixel of now, smaller: of the grounds, which show the same, so that nothing
    of one thing is in the light of another; and of what is trusted, or what is seen no more would stay in the paint.
    `now` is the ground of now, smaller."""
    trust, flow = _smaller(found.trust), _smaller(found.flow)
    scale = _scale(found.trust)
    change = now - np.float32(found.gain) * warp(before.small_ground, flow / np.float32(scale))
    sums, weights = (_blurred(picture, LIGHT_PX / scale) for picture in (change * trust, trust))
    relit: Picture = np.divide(sums, weights.clip(min=1e-3), dtype=np.float32)
    return relit


def fresh(found: Match) -> Picture:
    """Where nothing was taken over, [H, W, 1], 0..1."""
    share: Picture = 1 - found.trust / KEPT
    return share


def light(picture: Picture) -> Picture:
    """What is coarser than LIGHT_PX."""
    return _coarse(picture, LIGHT_PX)


def detail(picture: Picture) -> Picture:
    """How strong what is finer than DETAIL_PX is around each pixel, root mean square, [H, W, 1]."""
    return _strength(picture - cv2.GaussianBlur(picture, (0, 0), DETAIL_PX))


def _strength(fine: Picture) -> Picture:
    squares = _coarse(squared(fine) / np.float32(fine.shape[-1]), DETAIL_AREA_PX) + np.float32(1e-6)
    strength: Picture = np.sqrt(squares)[..., None]
    return strength


def _sharpened(picture: Picture, strength: Picture) -> Picture:
    """`picture` with detail of `strength` [H, W, 1]: being moved again and again has blurred it."""
    fine = picture - cv2.GaussianBlur(picture, (0, 0), DETAIL_PX)
    gain = (strength / _strength(fine)).clip(1, DETAIL_GAIN)
    sharper: Picture = picture + (gain - 1) * fine
    return sharper


def _coarse(picture: Picture, sigma_px: float) -> Picture:
    """A wide Gaussian blur, made at a quarter of the size, where it looks the same and costs little."""
    return _larger(_blurred(_smaller(picture), sigma_px / _scale(picture)), picture)


def _scale(picture: Picture) -> int:
    """How many times smaller it is blurred."""
    return 1 if min(picture.shape[:2]) < SMALLEST_PX else SMALLER


def _smaller(picture: Picture) -> Picture:
    height, width = (-(-side // _scale(picture)) for side in picture.shape[:2])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).reshape(height, width, *picture.shape[2:])


def _larger(small: Picture, like: Picture) -> Picture:
    height, width = like.shape[:2]
    return np.asarray(cv2.resize(small, (width, height)), np.float32).reshape(height, width, *small.shape[2:])


def _blurred(picture: Picture, sigma_px: float) -> Picture:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma_px), np.float32).reshape(picture.shape)
