"""DINOv2 as the discriminator's eyes: a tiny one, built here with the real classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stdvid.distill.discriminator import Discriminator
from stdvid.errors import ModelError
from stdvid.metrics.dino import DinoFeatures


@pytest.fixture(scope="module")
def tiny_dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dino")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Dinov2Config(hidden_size=24, num_hidden_layers=8, num_attention_heads=2, patch_size=14, image_size=56)
        Dinov2Model(config).save_pretrained(folder)
    return folder


def test_maps_are_hidden_states_of_the_blocks(tiny_dino: Path) -> None:
    from transformers import Dinov2Model

    features = DinoFeatures(str(tiny_dino))
    assert features.taps == (2, 4, 6, 8)
    assert not any(p.requires_grad for p in features.parameters())
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    maps = features(images)
    assert [m.shape for m in maps] == [(2, 24, 16, 16)] * 4
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (images / 2 + 0.5 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    with torch.no_grad():
        states = Dinov2Model.from_pretrained(tiny_dino).eval()(normal, output_hidden_states=True).hidden_states
    torch.testing.assert_close(maps[1][:, :, 3, 5], states[4][:, 1 + 3 * 16 + 5])


def test_the_discriminator_looks_through_it_and_gradients_reach_the_picture(tiny_dino: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        discriminator = Discriminator(8, str(tiny_dino))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    logits = discriminator(discriminator.features(images), torch.ones(2, 8))
    assert logits.shape == (2, 4 * 16 * 16)
    logits.mean().backward()
    assert images.grad is not None
    assert float(images.grad.abs().sum()) > 0
    assert all("network" not in name for name in discriminator.state_dict())  # only the heads are kept


def test_what_is_no_dino_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither lite0, lite1 or lite2 nor a DINOv2 model"):
        DinoFeatures(str(tmp_path))
