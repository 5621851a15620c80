"""Frames that see anchors in self-attention: on real UNets of diffusers, small and random."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from torch import Tensor

from stdvid.models.anchor_attention import AnchorAttention, Memory

T = 400


def small_unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=12,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    return unet.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return small_unet()


@pytest.fixture(scope="module")
def attention(unet: UNet2DConditionModel) -> AnchorAttention:
    return AnchorAttention(unet)


def picture(seed: int, count: int = 1) -> Tensor:
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def call(unet: UNet2DConditionModel, x: Tensor) -> Tensor:
    text = torch.ones(len(x), 3, 12)
    out: Tensor = unet(x, torch.tensor(T), encoder_hidden_states=text).sample
    return out


def remembered(unet: UNet2DConditionModel, attention: AnchorAttention, x: Tensor) -> Memory:
    memory: Memory = {}
    with attention.looking(T, (), memory):
        call(unet, x)
    return memory


def test_without_anchors_nothing_changes(unet: UNet2DConditionModel, attention: AnchorAttention) -> None:
    plain = call(small_unet(), picture(1))
    torch.testing.assert_close(call(unet, picture(1)), plain, atol=0, rtol=0)
    with attention.looking(T, ()):
        torch.testing.assert_close(call(unet, picture(1)), plain, atol=0, rtol=0)


def test_every_self_attention_is_kept_and_no_other(unet: UNet2DConditionModel, attention: AnchorAttention) -> None:
    memory = remembered(unet, attention, picture(1))
    layers = [name for name in unet.attn_processors if ".attn1." in name]
    assert set(memory) == {(T, name) for name in layers}
    assert len(layers) < len(unet.attn_processors)
    assert {tokens.shape for tokens in memory.values()} <= {(1, 64, 16), (1, 16, 32)}


def test_who_sees_himself_twice_stays_as_he_is(unet: UNet2DConditionModel, attention: AnchorAttention) -> None:
    """The same keys once more take their shares from themselves."""
    x = picture(1)
    memory = remembered(unet, attention, x)
    with attention.looking(T, [memory, memory]):
        torch.testing.assert_close(call(unet, x), call(small_unet(), x), atol=1e-5, rtol=0)


def test_frames_of_a_batch_see_the_same_anchors(unet: UNet2DConditionModel, attention: AnchorAttention) -> None:
    memory, frames = remembered(unet, attention, picture(1)), picture(2, 3)
    with attention.looking(T, [memory]):
        together = call(unet, frames)
        alone = torch.cat([call(unet, frame[None]) for frame in frames])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert not torch.allclose(together, call(unet, frames), atol=1e-3)


def test_it_is_attention_to_the_tokens_of_both() -> None:
    """Against the layer itself, with both pictures' tokens written out."""
    unet = small_unet()
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    layer = unet.get_submodule(name)
    attention = AnchorAttention(unet)
    own, anchor = torch.randn(2, 5, 16), torch.randn(1, 7, 16)
    with attention.looking(T, [{(T, f"{name}.processor"): anchor}]):
        seen = layer(own)
    torch.testing.assert_close(seen, layer(own, encoder_hidden_states=torch.cat([own, anchor.expand(2, -1, -1)], 1)))


def test_threads_do_not_see_one_anothers_anchors(unet: UNet2DConditionModel, attention: AnchorAttention) -> None:
    memories = [remembered(unet, attention, picture(seed)) for seed in range(4)]

    def work(number: int) -> Tensor:
        with attention.looking(T, [memories[number]]):
            return call(unet, picture(9))

    one_by_one = [work(number) for number in range(4)]
    with ThreadPoolExecutor(4) as workers:
        for number, out in enumerate(workers.map(work, list(range(4)) * 3)):
            torch.testing.assert_close(out, one_by_one[number % 4], atol=1e-6, rtol=0)


def test_attention_along_time_is_left_alone() -> None:
    torch.manual_seed(0)
    adapter = MotionAdapter(
        block_out_channels=(16, 32), motion_layers_per_block=1, motion_num_attention_heads=2, motion_norm_num_groups=4
    )
    unet = UNetMotionModel.from_unet2d(small_unet(), adapter).eval().requires_grad_(False)
    attention = AnchorAttention(unet)
    memory: Memory = {}
    with attention.looking(T, (), memory):
        unet(torch.randn(1, 4, 2, 8, 8), torch.tensor(T), encoder_hidden_states=torch.ones(2, 3, 12))
    assert memory
    assert not any("motion_modules" in name for _, name in memory)


def test_putting_it_in_twice_wraps_once(unet: UNet2DConditionModel, attention: AnchorAttention) -> None:
    again = AnchorAttention(unet)
    memory = remembered(unet, again, picture(1))
    with again.looking(T, [memory]):
        seen = call(unet, picture(2))
    with attention.looking(T, [memory]):  # the first one is still in charge
        torch.testing.assert_close(call(unet, picture(2)), seen, atol=0, rtol=0)
    assert all(not hasattr(p.inner, "inner") for p in unet.attn_processors.values() if hasattr(p, "inner"))


def test_a_copy_of_a_network_looks_at_its_own_anchors(unet: UNet2DConditionModel, attention: AnchorAttention) -> None:
    copied = copy.deepcopy(unet)
    theirs = AnchorAttention(copied)
    mine: Memory = {}
    with attention.looking(T, (), mine), theirs.looking(T, ()):
        call(copied, picture(0))
        assert not mine
        call(unet, picture(0))
    assert mine
