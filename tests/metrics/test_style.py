"""Style distances: values by hand, and the symmetries that statistics over space have."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stdvid.metrics.style import gram, gram_distance, gram_distances, sliced_wasserstein

SEEDS = st.integers(0, 10_000)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def shuffled(features: Tensor, seed: int) -> Tensor:
    places = torch.randperm(features[0, 0].numel(), generator=torch.Generator().manual_seed(seed))
    return features.flatten(2)[..., places].view(features.shape)


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_gram_is_symmetric_positive_and_turns_with_its_channels(seed: int) -> None:
    features = randn(2, 5, 6, 7, seed=seed)
    found = gram(features)
    torch.testing.assert_close(found, found.mT)
    assert float(torch.linalg.eigvalsh(found).min()) > -1e-5
    rotation = torch.linalg.qr(randn(5, 5, seed=seed + 1)).Q
    turned = torch.einsum("ij,njhw->nihw", rotation, features)
    torch.testing.assert_close(gram(turned), rotation @ found @ rotation.mT, atol=1e-5, rtol=1e-4)


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_places_and_repetition_do_not_matter(seed: int) -> None:
    features = randn(1, 4, 6, 8, seed=seed)
    torch.testing.assert_close(gram(shuffled(features, seed)), gram(features), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(gram(features.tile(1, 1, 2, 3)), gram(features), atol=1e-5, rtol=1e-4)
    moved = [shuffled(features, seed)]
    torch.testing.assert_close(sliced_wasserstein(moved, [features]), torch.zeros(1), atol=1e-6, rtol=0)


def test_gram_distance_by_hand() -> None:
    unit = torch.eye(2).view(1, 2, 1, 2)  # Gram matrix I / 2; twice as strong it is 2 I
    doubled, same = gram_distance([unit], [2 * unit]), gram_distance([unit, unit], [2 * unit, unit])
    assert float(doubled) == pytest.approx(1.5 / 2, rel=1e-3)
    assert float(same) == pytest.approx(0.75 / 2, rel=1e-3)  # the mean over layers


@pytest.mark.parametrize("gain", [0.0, 0.5, 1.5, 3.0])
def test_gram_distance_of_a_gain_is_quadratic(gain: float) -> None:
    features = randn(1, 6, 8, 8)
    assert float(gram_distance([gain * features], [features])) == pytest.approx(abs(gain**2 - 1), rel=2e-3)


def test_all_pairs_agree_with_pair_by_pair_for_any_counts() -> None:
    ours, theirs = [randn(3, 4, 5, 5), randn(3, 6, 3, 3)], [randn(2, 4, 7, 2, seed=1), randn(2, 6, 4, 4, seed=2)]
    table = gram_distances(ours, theirs)
    assert table.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            one = gram_distance([x[i : i + 1] for x in ours], [x[j : j + 1] for x in theirs])
            torch.testing.assert_close(table[i, j], one[0])


@pytest.mark.parametrize("distance", [gram_distance, gram_distances, sliced_wasserstein])
def test_layers_must_be_the_same(distance: object) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        distance([randn(1, 2, 3, 3)] * 2, [randn(1, 2, 3, 3)])  # type: ignore[operator]


@pytest.mark.parametrize(("ours", "theirs", "expected"), [(3.0, 2.0, 1 / 2.001), (-2.0, 2.0, 4 / 2.001), (5, 5, 0.0)])
def test_sliced_wasserstein_of_constants_by_hand(ours: float, theirs: float, expected: float) -> None:
    a, b = torch.full((1, 1, 4, 4), ours), torch.full((1, 1, 3, 5), theirs)
    assert float(sliced_wasserstein([a], [b])) == pytest.approx(expected, abs=1e-5)


def test_sliced_wasserstein_sees_what_the_gram_matrix_does_not() -> None:
    signs = shuffled(torch.tensor([1.0, -1.0]).repeat(512).view(1, 1, 32, 32), 0)
    spikes = shuffled(torch.tensor([2.0, -2.0, 0, 0, 0, 0, 0, 0]).repeat(128).view(1, 1, 32, 32), 1)
    torch.testing.assert_close(gram(signs), gram(spikes))
    assert float(gram_distance([spikes], [signs])) < 1e-3
    assert float(sliced_wasserstein([spikes], [signs])) > 0.5


def test_both_distances_lead_back_to_the_reference() -> None:
    reference = [randn(1, 4, 8, 8)]
    for distance in (gram_distance, sliced_wasserstein):
        ours = (2 * randn(1, 4, 8, 8, seed=1)).requires_grad_()
        before = distance([ours], reference).sum()
        before.backward()
        assert ours.grad is not None
        with torch.no_grad():
            assert float(distance([ours - 0.1 * ours.grad], reference)) < float(before)
