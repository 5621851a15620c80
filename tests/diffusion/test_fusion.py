"""Contexts over long windows: what they cover, where they meet, and how their estimates are blended."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stdvid.diffusion.fusion import Fused, contexts, weights

lengths = st.integers(1, 24)


@st.composite
def spans(draw: st.DrawFn) -> tuple[int, int, int]:
    """Frames, the length of a context, and what contexts share."""
    length = draw(lengths)
    return draw(st.integers(1, 100)), length, draw(st.integers(0, length - 1))


@given(spans(), st.integers(0, 40))
def test_contexts_cover_every_frame_and_share_what_is_asked_for(span: tuple[int, int, int], phase: int) -> None:
    count, length, overlap = span
    found = contexts(count, length, overlap, phase)
    assert set().union(*found) == set(range(count))
    assert {len(context) for context in found} == {min(length, count)}
    for before, after in itertools.pairwise(found):
        assert before.start < after.start  # none twice
        assert before.stop - after.start >= overlap
    assert len(found) <= 2 - (-max(0, count - length) // (length - overlap))  # two cut ends, and those between


@pytest.mark.parametrize(
    ("count", "length", "overlap", "phase", "starts"),
    [
        (40, 16, 4, 0, [0, 12, 24]),
        (40, 16, 4, 5, [0, 7, 19, 24]),
        (24, 16, 4, 0, [0, 8]),
        (24, 16, 4, 7, [0, 5, 8]),
        (16, 16, 4, 3, [0]),
        (3, 16, 4, 0, [0]),
        (5, 2, 1, 0, [0, 1, 2, 3]),
        (4, 1, 0, 0, [0, 1, 2, 3]),
    ],
)
def test_contexts_by_hand(count: int, length: int, overlap: int, phase: int, starts: list[int]) -> None:
    assert [context.start for context in contexts(count, length, overlap, phase)] == starts


def test_where_they_meet_moves_with_the_phase() -> None:
    inner = [tuple(c.start for c in contexts(100, 16, 4, phase))[1:-1] for phase in range(12)]
    assert len(set(inner)) == 12
    assert inner[0] == tuple(c.start for c in contexts(100, 16, 4, 12))[1:-1]  # and comes back


@pytest.mark.parametrize(("length", "overlap"), [(4, 4), (4, 5), (0, 0), (4, -1)])
def test_contexts_that_do_not_go_on(length: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="contexts of"):
        contexts(10, length, overlap)


@given(lengths)
def test_the_middle_of_a_context_counts_most(length: int) -> None:
    found = weights(length)
    assert len(found) == length
    assert found == found[::-1]
    assert min(found) == 1
    assert found[: (length + 1) // 2] == list(range(1, (length + 1) // 2 + 1))


@given(spans(), st.integers(0, 9))
def test_weights_are_a_partition_of_one(span: tuple[int, int, int], earlier: int) -> None:
    """A denoiser that returns what it is given gives it back, whatever the contexts and the step."""
    count, length, overlap = span
    fused = Fused(lambda x, t: x, length, overlap)
    fused.calls = earlier
    frames = torch.arange(count, dtype=torch.float64).view(-1, 1, 1, 1) + 1
    assert torch.allclose(fused(frames, torch.zeros(count).long()), frames, rtol=1e-12)
    assert fused.calls == earlier + 1


def test_estimates_are_weighted_by_their_place() -> None:
    """Two contexts, 0 to 3 and 2 to 5, which say 0 and 1: between them their weights."""
    answers = iter([0.0, 1.0])
    fused = Fused(lambda x, t: torch.full_like(x, next(answers)), 4, 2)
    blended = fused(torch.zeros(6, 1, 1, 1), torch.zeros(6).long()).flatten()
    torch.testing.assert_close(blended, torch.tensor([0, 0, 1 / 3, 2 / 3, 1, 1]))  # weights 2, 1 against 1, 2


def test_seams_move_from_step_to_step_and_no_context_is_too_long() -> None:
    seen: list[list[int]] = []

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        assert len(x) == len(t) <= 16
        seen[-1].append(int(x[0, 0, 0, 0]))
        return x

    fused, frames = Fused(denoiser, 16, 4), torch.arange(100.0).view(-1, 1, 1, 1)
    for _ in range(12):
        seen.append([])
        fused(frames, torch.zeros(100).long())
    assert len({tuple(starts) for starts in seen}) == 12


def test_one_frame_at_a_time_shares_nothing() -> None:
    fused = Fused(lambda x, t: x * 2, 1, 4)
    assert fused.overlap == 0
    assert fused(torch.ones(3, 1, 1, 1), torch.zeros(3).long()).flatten().tolist() == [2, 2, 2]
