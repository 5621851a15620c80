"""The trajectory bank: whole trajectories, nothing lost, nothing mixed up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stdvid.distill.bank import TrajectoryBank, stack
from stdvid.distill.slots import Slot

START = 5


def slot(number: int, index: int = START) -> Slot:
    value = torch.full((1,), float(number))
    return Slot(value, value * 0, value, value, value, guidance=float(number), index=index)


class Source:
    """Fresh slots, numbered."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> Slot:
        self.made += 1
        return slot(self.made)


@given(
    capacity=st.integers(1, 12),
    n=st.integers(1, 4),
    probability=st.floats(0, 1),
    steps=st.integers(1, 60),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_every_trajectory_is_walked_from_its_start_to_its_end(
    capacity: int, n: int, probability: float, steps: int, seed: int
) -> None:
    bank, source, rng = TrajectoryBank(capacity, probability), Source(), np.random.default_rng(seed)
    seen: dict[float, list[int]] = {}
    for _ in range(steps):
        drawn = bank.draw(n, rng, source)
        assert len(drawn) == n
        assert len({s.guidance for s in drawn}) == n  # no slot twice in a batch
        for s in drawn:
            # x_0, condition and guidance are the ones that the trajectory started with
            assert s.x_0.item() == s.structure.item() == s.reference.item() == s.target.item() == s.guidance
            assert s.x_t.item() == START - s.index  # the state that was written back
            seen.setdefault(s.guidance, []).append(s.index)
        bank.put([s.moved(s.x_t + 1, s.index - 1) for s in drawn])
        assert len(bank.slots) <= max(capacity, n)
    for indices in seen.values():
        assert indices == list(range(START, START - len(indices), -1))
    unfinished = {s.guidance for s in bank.slots}
    assert unfinished == {k for k, indices in seen.items() if len(indices) < START}
    assert source.made == len(seen)


def test_probability_decides_between_stored_and_fresh() -> None:
    for probability, expected in ((0.0, 8), (1.0, 1)):
        bank, source = TrajectoryBank(100, probability), Source()
        rng = np.random.default_rng(0)
        for _ in range(8):
            drawn = bank.draw(1, rng, source)
            bank.put([s.moved(s.x_t, START) for s in drawn])
        assert source.made == expected


def test_same_seed_draws_the_same() -> None:
    def run() -> list[float]:
        bank, source, rng = TrajectoryBank(8, 0.8), Source(), np.random.default_rng(3)
        out = []
        for _ in range(20):
            drawn = bank.draw(2, rng, source)
            out += [s.guidance for s in drawn]
            bank.put([s.moved(s.x_t, s.index - 1) for s in drawn])
        return out

    assert run() == run()


def test_state_restores_every_slot() -> None:
    bank = TrajectoryBank(8, 0.8)
    bank.put([slot(1, 3), slot(2, 5), slot(3, 0)])
    tensors, meta = bank.state()
    other = TrajectoryBank(8, 0.8)
    other.restore(tensors, meta, Slot)
    assert [(s.guidance, s.index) for s in other.slots] == [(1.0, 3), (2.0, 5)]
    for ours, theirs in zip(bank.slots, other.slots, strict=True):
        assert all(torch.equal(getattr(ours, n), getattr(theirs, n)) for n in Slot.tensors())
    assert stack(other.slots, "x_0").tolist() == [[1.0], [2.0]]


def test_the_reference_policy_starts_afresh_and_drops_what_finds_no_room() -> None:
    bank, source, rng = TrajectoryBank(4, 0.5, refresh="drop"), Source(), np.random.default_rng(0)
    for _ in range(40):
        bank.put([s.moved(s.x_t, s.index - 1) for s in bank.draw(2, rng, source)])
        assert len(bank.slots) <= 4
    finishing = TrajectoryBank(4, 0.5)
    other, rng = Source(), np.random.default_rng(0)
    for _ in range(40):
        finishing.put([s.moved(s.x_t, s.index - 1) for s in finishing.draw(2, rng, other)])
    assert source.made > 1.5 * other.made  # fresh whatever the room


@pytest.mark.parametrize("device", ["meta", "meta:0"])
def test_slots_beyond_the_resident_ones_are_kept_in_cpu_memory(device: str) -> None:
    bank = TrajectoryBank(8, 0.8, resident=3, device=device)
    bank.put([slot(k, 5) for k in range(5)])
    assert [s.x_t.device.type for s in bank.slots] == ["meta"] * 3 + ["cpu"] * 2
    assert all(getattr(bank.slots[0], name).device.type == "meta" for name in Slot.tensors())
    del bank.slots[0]
    bank.put([slot(8, 5), slot(9, 5)])
    assert [s.x_t.device.type for s in bank.slots] == ["meta"] * 2 + ["cpu"] * 2 + ["meta", "cpu"]


def test_states_drawn_are_spread_over_all_times_alike_as_if_rolled_out_anew() -> None:
    start, n, rng = 10, 8, np.random.default_rng(0)
    bank = TrajectoryBank(64, 0.8)
    bank.put([slot(k, int(rng.integers(1, start + 1))) for k in range(64)])
    counts = np.zeros(start + 1, int)
    for _ in range(1000):
        drawn = bank.draw(n, rng, lambda: slot(0, start))
        for s in drawn:
            counts[s.index] += 1
        bank.put([s.moved(s.x_t, s.index - 1) for s in drawn])
    assert counts[0] == 0
    # no trajectory is left before its end, so every time is met once in each: far closer than chance would have it
    assert np.abs(counts[1:] / (1000 * n / start) - 1).max() < 0.05


def test_a_stored_state_does_not_keep_its_batch_in_memory() -> None:
    batch = torch.zeros(8, 48, 4, 4)
    moved = slot(1).moved(batch[0], 3)
    assert moved.x_t.untyped_storage().nbytes() == batch[0].nbytes


def test_the_ablation_changes_the_condition_on_the_way() -> None:
    stored, current = slot(1, 3), slot(2, 5)
    mixed = stored.under(current)
    assert (mixed.index, mixed.guidance) == (3, 2.0)
    assert torch.equal(mixed.x_t, stored.x_t)
    assert all(torch.equal(getattr(mixed, n), getattr(current, n)) for n in Slot.tensors() if n != "x_t")
