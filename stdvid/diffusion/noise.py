"""Noise that is the same wherever, whenever and beside whatever else a frame is painted."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray


@functools.lru_cache(maxsize=4)
def normal(seed: int, step: int, frame: int, *shape: int) -> NDArray[np.float32]:
    """Standard normal noise of a frame's step, seeded by all three; not to be written to. What frames share is made
    once."""
    noise: NDArray[np.float32] = np.random.default_rng([seed, step, frame]).standard_normal(shape, np.float32)
    noise.setflags(write=False)
    return noise
