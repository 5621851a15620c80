"""A network that a model can denoise with: what a plan says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Quantized:
    """The UNet of a network once more, in int8, as a graph of OpenVINO: two files and their hashes; `of`: the hash
    of the weights that it was made of. `trial`: calls, and x_0 by torch, to try it by; "" where there are none."""

    file: str
    sha256: str
    weights: str
    weights_sha256: str
    of: str
    trial: str = ""
    trial_sha256: str = ""


@dataclass(frozen=True)
class NetworkEntry:
    """One weight file. `strength` is the eta that a student was distilled for and `start` its first time, a property
    of the weights; for a teacher `strength` is None (any will do) and `start` the last time that it was trained on.
    With a `base` the file holds changes (LoRA) to the weights in that file. `int8`: for CPUs, where there is one."""

    file: str
    sha256: str
    strength: float | None
    start: int
    base: str | None = None
    base_sha256: str | None = None
    int8: Quantized | None = None


def nearest(networks: Sequence[NetworkEntry], strength: float, name: str) -> tuple[NetworkEntry, str | None]:
    """The network nearest to a strength, a teacher before all, and a note if it is not for just that strength.

    `name`: who has them, for the note.
    """
    entry = min(networks, key=lambda n: 0.0 if n.strength is None else abs(n.strength - strength))
    if entry.strength is None or abs(entry.strength - strength) <= 1e-9:
        return entry, None
    known = ", ".join(f"{n.strength:g}" for n in networks)
    return entry, f"strength {strength:g} rounded to {entry.strength:g}; '{name}' has students for {known}"
