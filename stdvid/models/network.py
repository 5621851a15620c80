"""A network that a model can denoise with: what a plan says of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkEntry:
    """One weight file. `strength` is the eta that a student was distilled for and `start` its first time, a property
    of the weights; for a teacher `strength` is None (any will do) and `start` the last time that it was trained on.
    With a `base` the file holds changes (LoRA) to the weights in that file."""

    file: str
    sha256: str
    strength: float | None
    start: int
    base: str | None = None
    base_sha256: str | None = None
