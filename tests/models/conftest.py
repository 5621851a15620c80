"""Tiny networks of the real architecture."""

from __future__ import annotations

import pytest
import torch

from stdvid.models.nano import Nano

TINY = {"channels": [16, 16, 16], "layers": 1, "heads": 2, "token_dim": 16, "vector_dim": 16}


@pytest.fixture
def tiny_nano() -> Nano:
    """An untrained network, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Nano(**TINY).eval().requires_grad_(False)  # type: ignore[arg-type]
