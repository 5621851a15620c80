"""How much of a machine an input may use, whatever its header says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from stdvid.errors import UsageError


@dataclass(frozen=True, slots=True)
class Limits:
    """What an input may not exceed: `pixels` of a frame, `streams`, `seconds` of its video, and the seconds that the
    decoder may need for a frame (`stall`)."""

    pixels: float = 100e6
    streams: float = 64
    seconds: float = 24 * 3600
    stall: float = 120

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """From `name=value` pairs as a user writes them; the others stay as they are.

        Raises:
            UsageError: an unknown name, or a value that is no positive number.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        values = {}
        for name, text in given.items():
            if name not in known:
                raise UsageError(f"limit '{name}' is unknown; allowed are {', '.join(known)}; choose one of these")
            try:
                values[name] = float(text)
            except ValueError:
                values[name] = 0.0
            if not values[name] > 0:
                raise UsageError(f"limit {name}={text}: a number above 0 is needed; for example {name}=1e9")
        return cls(**values)


DEFAULT = Limits()
