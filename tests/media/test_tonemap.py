"""HDR and wide gamut to SDR, against published values of the curves and colours worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stdvid.media.tonemap import hlg_to_scene, pq_to_linear, to_sdr

PQ, HLG, SDR = "smpte2084", "arib-std-b67", "bt2020-10"
BT709_TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
"""ITU-R BT.2087, the other way round than the product."""


def pq_signal(nits: np.ndarray | float) -> np.ndarray:
    """The inverse curve of SMPTE ST 2084, written down a second time: cd/m2 to signal."""
    power = (np.asarray(nits, float) / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def shown(signal: np.ndarray | list[float], transfer: str) -> np.ndarray:
    """One pixel with this R'G'B' signal in [0,1] as it comes out: int [3]."""
    pixel = np.rint(np.broadcast_to(np.asarray(signal, float), 3) * 65535).astype(np.uint16)
    return to_sdr(pixel.reshape(1, 1, 3), transfer)[0, 0].astype(int)


@pytest.mark.parametrize(
    ("signal", "nits"), [(0.0, 0), (0.508078, 100), (0.580689, 203), (0.751827, 1000), (0.902572, 4000), (1.0, 10_000)]
)
def test_pq_agrees_with_the_table_of_bt2408(signal: float, nits: float) -> None:
    assert 203 * pq_to_linear(np.array([signal]))[0] == pytest.approx(nits, rel=1e-4, abs=1e-9)


@given(st.floats(0.01, 10_000))
def test_pq_undoes_the_inverse_curve_of_the_standard(nits: float) -> None:
    assert 203 * pq_to_linear(pq_signal(nits)) == pytest.approx(nits, rel=1e-6)


@pytest.mark.parametrize(
    ("signal", "light"), [(0.0, 0), (0.25, 1 / 48), (0.5, 1 / 12), (0.75, 0.264963), (0.9, 0.581838), (1.0, 1)]
)
def test_hlg_agrees_with_its_formula(signal: float, light: float) -> None:
    assert hlg_to_scene(np.array([signal]))[0] == pytest.approx(light, abs=2e-5)


@pytest.mark.parametrize(
    ("nits", "value"),
    [
        (0, 0),
        (50, 142),  # (50 / 203) ** (1 / 2.4) * 255: below the knee light is left alone
        (100, 190),
        (203, 228),  # reference white: 0.765 of full light
        (1000, 255),
        (10_000, 255),
    ],
)
def test_grey_of_pq_comes_out_as_worked_out_by_hand(nits: float, value: int) -> None:
    assert abs(shown(pq_signal(nits) * np.ones(3), PQ) - value).max() <= 1


def test_reference_white_is_the_same_in_pq_and_hlg() -> None:
    """BT.2408: 58 % PQ and 75 % HLG are both 203 cd/m2 on a display of 1000."""
    assert abs(shown([0.580689] * 3, PQ) - shown([0.75] * 3, HLG)).max() <= 1


@pytest.mark.parametrize("level", [0, 1, 40, 128, 200, 254, 255])
def test_grey_of_sdr_bt2020_is_left_as_it_is(level: int) -> None:
    assert abs(shown([level / 255] * 3, SDR) - level).max() <= 1


@pytest.mark.parametrize("channel", range(3))
def test_primaries_outside_bt709_become_its_primaries(channel: int) -> None:
    assert shown(np.eye(3)[channel], SDR).tolist() == (np.eye(3, dtype=int)[channel] * 255).tolist()


@given(st.tuples(*[st.integers(40, 255)] * 3))
def test_a_colour_within_bt709_keeps_its_value_through_bt2020(colour: tuple[int, int, int]) -> None:
    linear = (np.array(colour) / 255) ** 2.4
    wide = np.clip(BT709_TO_BT2020 @ linear, 0, 1) ** (1 / 2.4)
    assert abs(shown(wide, SDR) - colour).max() <= 2


@given(st.tuples(*[st.floats(0.2, 1)] * 3), st.floats(400, 4000))
@settings(max_examples=40)
def test_bright_light_is_dimmed_without_a_change_of_hue(colour: tuple[float, float, float], nits: float) -> None:
    """The ratios of the three channels are those of the source, however much the pixel was compressed."""
    linear = np.array(colour) / max(colour)
    signal = pq_signal(BT709_TO_BT2020 @ linear * nits)
    result = shown(signal, PQ)
    assert abs(result / result.max() - linear ** (1 / 2.4)).max() <= 2 / result.max() + 0.002


@pytest.mark.parametrize("transfer", [PQ, HLG, SDR])
@given(low=st.floats(0, 1), high=st.floats(0, 1))
@settings(max_examples=25)
def test_more_signal_is_never_darker(transfer: str, low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert (shown([low] * 3, transfer) <= shown([high] * 3, transfer)).all()


def test_a_pixel_does_not_depend_on_its_neighbours() -> None:
    pixels = np.random.default_rng(3).integers(0, 65536, (7, 9, 3), dtype=np.uint16)
    whole = to_sdr(pixels, PQ).astype(int)
    assert abs(to_sdr(pixels[::-1, ::-1].copy(), PQ)[::-1, ::-1] - whole).max() <= 1
    assert abs(to_sdr(pixels[2:3, 4:5].copy(), PQ) - whole[2:3, 4:5]).max() <= 1
