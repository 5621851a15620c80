"""The network sees of a frame where something is new, and makes there what it makes of that part alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from stdvid.following import Following, Trail
from stdvid.models.nano_stylizer import CANVAS, NanoStylizer
from stdvid.models.stylizer import to_tensor
from stdvid.temporal.flow import places_of
from stdvid.where_new import LEAST_PX, MARGIN_PX, looking_at, region_of

BORDER = CANVAS.border_px


@given(
    array_shapes(min_dims=2, max_dims=2, min_side=32, max_side=400),
    st.lists(st.tuples(*[st.floats(0, 1)] * 2, st.integers(3, 60), st.integers(3, 60)), max_size=3),
    st.lists(st.tuples(*[st.floats(0, 1)] * 2), max_size=5),
)
def test_a_region_holds_what_is_new_with_what_is_around_it(
    size: tuple[int, int],
    new: list[tuple[float, float, int, int]],
    specks: list[tuple[float, float]],
) -> None:
    height, width = size
    unknown, wanted = np.full((height, width, 1), 0.2, np.float32), np.zeros(size, bool)
    for y, x, rows, columns in new:
        top, left = round(y * (height - 3)), round(x * (width - 3))
        unknown[top : top + rows, left : left + columns] = 1
        above, before = max(0, top - MARGIN_PX), max(0, left - MARGIN_PX)
        wanted[above : top + rows + MARGIN_PX, before : left + columns + MARGIN_PX] = 1
    if not new:
        for y, x in specks[:1]:  # more might touch
            unknown[round(y * (height - 1)), round(x * (width - 1))] = 1
        assert region_of(unknown, CANVAS) is None
        return
    region = region_of(unknown, CANVAS)
    assert region is not None
    whole = CANVAS.pad(torch.zeros(1, 1, height, width)).shape[-2:]
    for side, total in zip(region, whole, strict=True):
        assert 0 <= side.start < side.stop <= total
        assert side.start % CANVAS.multiple_px == side.stop % CANVAS.multiple_px == 0
        assert side.stop - side.start >= min(LEAST_PX, total)
    seen = np.zeros(whole, bool)
    seen[region] = True
    assert seen[BORDER : BORDER + height, BORDER : BORDER + width][wanted].all()
    for axis, side in enumerate(region):  # near an edge all that lies beyond is seen too
        found = np.flatnonzero(wanted.any(1 - axis))
        if found[0] == 0:
            assert side.start == 0
        if found[-1] == size[axis] - 1:
            assert side.stop == whole[axis]


def test_parts_are_what_they_are_alone_and_the_rest_is_the_frame(stylizer: NanoStylizer) -> None:
    frames = np.random.default_rng(0).integers(0, 4, (2, 160, 224, 3), np.uint8) * 85
    style = stylizer.read_style([np.ascontiguousarray(frames[0, :64, :64])])
    condition = stylizer.condition(to_tensor(frames), style, 1.0)
    regions = (slice(16, 144), slice(32, 160)), (slice(0, 192), slice(96, 256))
    noise = torch.randn(condition.x_0.shape, generator=torch.Generator().manual_seed(0))
    x, t = 0.7 * condition.x_0 + 0.7 * noise, torch.tensor([400, 400])
    for guidance in (1.0, 2.0):
        with torch.no_grad():
            found = stylizer.decode(looking_at(regions, stylizer, condition, guidance)(x, t))
            left = torch.ones_like(found, dtype=torch.bool)
            for frame, (rows, columns) in enumerate(regions):
                cut = stylizer.decode(x[frame : frame + 1])[..., rows, columns]
                alone = stylizer.part(condition, frame, (rows, columns))
                expected = stylizer.decode(stylizer.denoiser(alone, guidance)(encoded(cut), t[:1]))
                torch.testing.assert_close(found[frame : frame + 1, :, rows, columns], expected)
                left[frame, :, rows, columns] = False
                assert torch.equal(alone.content, condition.content[frame : frame + 1, :, rows, columns])
                edges = condition.told.structure[frame : frame + 1, :, *CANVAS.latents_in((rows, columns))]
                torch.testing.assert_close(alone.told.structure, edges)
        assert torch.equal(found[left], condition.content[left])
        assert not torch.equal(found, condition.content)


def test_noise_of_a_region_is_that_of_the_whole_frame_there() -> None:
    image, moved = np.zeros((160, 224, 3), np.uint8), places_of(160, 224) + np.float32([3.4, -7.8])
    following = Following([Trail(image, moved), Trail(image, lambda: moved + 9)], [[], []], CANVAS)
    first = encoded(torch.randn(1, 3, 192, 256, generator=torch.Generator().manual_seed(0)))
    regions = (slice(16, 144), slice(32, 160)), (slice(0, 192), slice(96, 256))
    whole, parts = (following.noise(first, given) for given in ((), regions))
    for number, region in enumerate(regions):
        there = (number, slice(None), *CANVAS.latents_in(region))
        assert torch.equal(parts[there], whole[there])
        assert float(parts[number].abs().sum()) == pytest.approx(float(whole[there].abs().sum()))


def encoded(pictures: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pixel_unshuffle(pictures, CANVAS.latent_px)
