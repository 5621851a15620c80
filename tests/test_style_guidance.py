"""Drawing strokes: nearer to the reference by a judge that took no part, and not beyond what is asked."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from stdvid.errors import Interrupted
from stdvid.metrics.content import edge_correlation
from stdvid.metrics.features import LiteFeatures
from stdvid.metrics.style import gram_distance
from stdvid.models.stylizer import to_frames, to_tensor
from stdvid.picture_losses import LEAST_CALM, areas, luminance, wanted_detail
from stdvid.style_guidance import StyleGuidance

SIDE = 96


def hatching() -> Tensor:
    """Slanted dark lines on light paper."""
    image = np.full((SIDE, SIDE, 3), 235, np.uint8)
    for start in range(-SIDE, SIDE, 9):
        cv2.line(image, (start, SIDE), (start + SIDE, 0), (40, 30, 20), 2, cv2.LINE_AA)
    return to_tensor(image[None])


def disc() -> Tensor:
    image = np.full((SIDE, SIDE, 3), 200, np.uint8)
    cv2.circle(image, (48, 48), 28, (90, 90, 90), -1, cv2.LINE_AA)
    return to_tensor(image[None])


@pytest.fixture(scope="module")
def guidance() -> StyleGuidance:
    return StyleGuidance([hatching()], 0, torch.device("cpu"))


@torch.no_grad()
def judged(image: Tensor) -> float:
    judge = LiteFeatures("lite0")
    return float(gram_distance(judge(image), judge(hatching())))


def uint8(image: Tensor) -> np.ndarray:  # type: ignore[type-arg]
    return np.rint(to_frames(image)[0]).astype(np.uint8)


def test_strokes_come_nearer_to_the_reference_and_the_content_stays(guidance: StyleGuidance) -> None:
    content = disc()
    few, many = (guidance.draw(content, content, n) for n in (6, 40))
    assert judged(many) < judged(few) < judged(content)
    assert judged(many) < 0.8 * judged(content)
    assert many.shape == content.shape
    assert float(many.abs().max()) <= 1
    assert edge_correlation(uint8(many), uint8(content)) > 0.6
    blocks = torch.nn.functional.avg_pool2d(many - content, 16)
    assert float(blocks.abs().mean()) < 0.25


def test_the_same_is_drawn_the_same(guidance: StyleGuidance) -> None:
    content = disc()
    assert torch.equal(guidance.draw(content, content, 4), guidance.draw(content, content, 4))
    other = StyleGuidance([hatching()], 1, torch.device("cpu"))
    assert not torch.equal(guidance.draw(content, content, 4), other.draw(content, content, 4))


def test_nothing_is_drawn_where_nothing_may_change(guidance: StyleGuidance) -> None:
    content, where = disc(), torch.zeros(1, 1, SIDE, SIDE)
    where[..., : SIDE // 2] = 1
    drawn = guidance.draw(content, content, 6, where=where)
    assert torch.equal(drawn[..., SIDE // 2 :], content[..., SIDE // 2 :])
    assert float((drawn - content)[..., : SIDE // 2].abs().mean()) > 0.01


def test_calm_areas_stay_calm_where_the_reference_has_some() -> None:
    reference = hatching()
    reference[..., : SIDE // 2] = reference.amax()  # half of it is empty paper
    content = torch.full((1, 3, SIDE, SIDE), 0.4)
    content[..., SIDE // 2 :] += 0.3 * torch.randn(1, 3, SIDE, SIDE // 2, generator=torch.Generator().manual_seed(0))
    drawn = StyleGuidance([reference], 0, torch.device("cpu")).draw(content, content.clamp(-1, 1), 24)
    calm, busy = drawn[..., 4 : SIDE // 2 - 12].std(), drawn[..., SIDE // 2 + 12 :].std()
    assert float(calm) < 0.15
    assert float(busy) > 2 * float(calm)


def test_only_the_box_is_worked_on_and_calm_is_judged_in_the_whole(guidance: StyleGuidance) -> None:
    content = disc()
    drawn = guidance.draw(content, content, 4, box=(slice(0, SIDE), slice(0, 64)))
    assert torch.equal(drawn[..., 64:], content[..., 64:])
    assert float((drawn - content)[..., :64].abs().mean()) > 0.01
    whole = wanted_detail(content, guidance.details)
    assert [tuple(octave.shape) for octave in whole] == [(1, 3, 6, 6)] * 3
    assert float(whole[0][0, 0, 0, 0]) < float(whole[0][0, 0, 2:4, 1].min())  # paper, and the edge of the disc


@pytest.mark.parametrize("size", [(1, 1), (8, 200)])
def test_a_tiny_reference_is_one(size: tuple[int, int]) -> None:
    tiny = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    drawn = StyleGuidance([tiny], 0, torch.device("cpu")).draw(disc(), disc(), 3)
    assert bool(drawn.isfinite().all())


def test_without_colour_only_light_and_dark_change(guidance: StyleGuidance) -> None:
    content = torch.cat([disc()[:, :1] * 0.5, disc()[:, 1:] * 0.2], 1)
    drawn = guidance.draw(content, content, 8, color=0.0)
    inside = (drawn.abs() < 1).all(1, keepdim=True).expand_as(drawn)
    chroma = (drawn - luminance(drawn)) - (content - luminance(content))
    assert float(chroma[inside].abs().max()) < 1e-4
    assert float((drawn - content).abs().mean()) > 0.01


def test_it_ends_when_told_to(guidance: StyleGuidance) -> None:
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        guidance.draw(disc(), disc(), 50, check=check)
    assert len(calls) == 3


def test_several_references_make_one_style() -> None:
    both = StyleGuidance([hatching(), disc()], 0, torch.device("cpu"))
    one = StyleGuidance([hatching()], 0, torch.device("cpu"))
    far = float(one.distance(disc(), areas(disc()), 0, strokes=False))
    assert 0 < float(both.distance(disc(), areas(disc()), 0, strokes=False)) < far
    own = areas(hatching(), LEAST_CALM)
    assert float(one.distance(hatching(), own, 0, strokes=False)) == pytest.approx(0, abs=0.02)


def test_what_is_blank_stays_blank(guidance: StyleGuidance) -> None:
    content = disc()
    free, kept = (guidance.draw(content, content, 12, blank=blank) for blank in (0.0, 1.0))
    corner = (..., slice(0, 16), slice(0, 16))
    assert not torch.equal(free[corner], content[corner])
    assert torch.equal(kept[corner], content[corner])
    rim = (..., slice(16, 26), slice(40, 56))
    assert float((kept[rim] - content[rim]).abs().mean()) > 0.02
