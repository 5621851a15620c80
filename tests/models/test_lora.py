"""Low-rank changes: nothing at first, small, exact when put into the weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from stdvid.models.lora import adapt, apply_lora, split_lora
from stdvid.models.nano import Nano


def run(model: Nano) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    crops = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    x_t, structure = (torch.randn(2, c, 8, 8, generator=generator) for c in (48, 16))
    return model(x_t, torch.tensor([100, 500]), structure, model.style(crops))


def trained(model: Nano, rank: int) -> Nano:
    """A copy with changes that are not 0."""
    adapted = copy.deepcopy(model)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        adapt(adapted, rank)
        for name, parameter in adapted.named_parameters():
            if name.endswith(".up"):
                parameter.data.normal_(std=0.05)
    return adapted


def test_an_adapted_network_begins_as_the_network_itself(tiny_nano: Nano) -> None:
    adapted = copy.deepcopy(tiny_nano)
    with torch.random.fork_rng():
        adapt(adapted, 4)
    torch.testing.assert_close(run(adapted), run(tiny_nano), atol=1e-5, rtol=1e-4)
    trainable = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert trainable
    assert all(name.endswith((".up", ".down")) for name in trainable)


def test_only_the_changes_get_gradients(tiny_nano: Nano) -> None:
    adapted = trained(tiny_nano, 2)
    run(adapted).square().mean().backward()
    for name, parameter in adapted.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == name.endswith((".up", ".down")), name


def test_changes_put_into_the_weights_do_the_same(tiny_nano: Nano) -> None:
    adapted = trained(tiny_nano, 2)
    weights, lora = split_lora(adapted.state_dict())
    assert set(weights) == set(tiny_nano.state_dict())
    for name, weight in tiny_nano.state_dict().items():
        assert torch.equal(weights[name], weight)
    merged = copy.deepcopy(tiny_nano)
    apply_lora(merged, lora)
    torch.testing.assert_close(run(merged), run(adapted), atol=1e-5, rtol=1e-4)
    assert float((run(merged) - run(tiny_nano)).abs().max()) > 1e-2


def test_rank_bounds_the_change_and_its_size(tiny_nano: Nano) -> None:
    _, lora = split_lora(trained(tiny_nano, 3).state_dict())
    layer = "unet.mid_block.resnets.0.conv1"
    change = lora[f"{layer}.up"] @ lora[f"{layer}.down"]
    assert int(torch.linalg.matrix_rank(change)) == 3
    assert max(min(value.shape) for value in lora.values()) == 3


def test_changes_of_another_architecture_do_not_fit(tiny_nano: Nano) -> None:
    _, lora = split_lora(trained(tiny_nano, 2).state_dict())
    with pytest.raises(KeyError):
        apply_lora(copy.deepcopy(tiny_nano), {"nowhere.up": torch.zeros(2, 2), "nowhere.down": torch.zeros(2, 2)})
    name = "unet.conv_in.up"
    with pytest.raises(RuntimeError):
        apply_lora(copy.deepcopy(tiny_nano), {**lora, name: torch.zeros(3, 2)})


def test_a_network_without_changes_has_none(tiny_nano: Nano) -> None:
    weights, lora = split_lora(tiny_nano.state_dict())
    assert not lora
    assert weights.keys() == tiny_nano.state_dict().keys()
