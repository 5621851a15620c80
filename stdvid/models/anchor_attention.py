"""Anchor attention: frames see the anchors of their shot in the self-attention of the network.

    anchor - network -> at each time and layer, the tokens that it attended to    kept
    frame  - network: queries of the frame; keys and values of the frame and of the kept tokens

What is new in a frame is then painted like what the anchors show (extended attention: Cao et al., "MasaCtrl", arXiv
2304.08465; Wu et al., "Tune-A-Video", arXiv 2212.11565, section 4.2). It needs no training and knows any UNet of
diffusers; attention along time, in motion modules, is left as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Memory = dict[tuple[int, str], Tensor]
"""Tokens [1, N, C] that an anchor attended to, by time and layer."""


def looks(name: str) -> bool:
    """Whether the attention processor of this name is one of those that can see anchors."""
    return ".attn1." in name and "motion_modules" not in name


class _Now(threading.local):
    """What is being looked at; windows may be painted side by side. A copy of a network has one of its own."""

    time: int = 0
    at: Sequence[Memory] = ()
    keep: Memory | None = None

    def __deepcopy__(self, _: object) -> _Now:
        return _Now()


class AnchorAttention:
    """The self-attention layers of a UNet, which from now on can see anchors."""

    def __init__(self, unet: Any) -> None:
        """`unet`: a model of diffusers with attention processors, whose others stay in charge of the arithmetic."""
        processors = dict(unet.attn_processors)
        there = (p.now for p in processors.values() if isinstance(p, _Anchored))
        self._now = next(there, _Now())
        for name, processor in processors.items():
            if looks(name) and not isinstance(processor, _Anchored):
                processors[name] = _Anchored(processor, name, self._now)
        unet.set_attn_processor(processors)

    @contextmanager
    def looking(self, t: int, at: Sequence[Memory], keep: Memory | None = None) -> Iterator[None]:
        """During a call of the network at time `t`, frames see `at`; the tokens of a single frame go into `keep`."""
        self._now.time, self._now.at, self._now.keep = t, at, keep
        try:
            yield
        finally:
            self._now.time, self._now.at, self._now.keep = t, (), None


class _Anchored:
    """An attention processor around another one."""

    def __init__(self, inner: Any, name: str, now: _Now) -> None:
        self.inner, self.name, self.now = inner, name, now

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, *args: Any, **options: Any
    ) -> Tensor:
        seen = encoder_hidden_states
        if seen is None and self.now.keep is not None:
            self.now.keep[self.now.time, self.name] = hidden_states.detach()
        if seen is None and self.now.at:
            kept = (memory[self.now.time, self.name] for memory in self.now.at)
            seen = torch.cat(
                [hidden_states, *(k.to(hidden_states).expand(len(hidden_states), -1, -1) for k in kept)], 1
            )
        out: Tensor = self.inner(attn, hidden_states, seen, *args, **options)
        return out
