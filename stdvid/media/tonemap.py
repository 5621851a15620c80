"""HDR and wide gamut to SDR: PQ, HLG and SDR BT.2020 pictures become BT.709 pictures.

A simple, fixed, per-pixel mapping, the same for every frame so that nothing flickers: linear light relative to
reference white (203 cd/m2, ITU-R BT.2408), BT.2020 to BT.709 primaries, a soft knee that leaves everything below
half of reference white alone and brings 1000 cd/m2 to full white, and a 2.4 display gamma (BT.1886).
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from stdvid.media.frames import Image

Floats = npt.NDArray[np.float32]

REFERENCE_WHITE_NITS = 203.0
PEAK_NITS = 1000.0
KNEE = 0.5
DISPLAY_GAMMA = 2.4

# ITU-R BT.2087: linear BT.2020 RGB to linear BT.709 RGB.
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)
_BT2020_LUMA = np.array([[0.2627, 0.6780, 0.0593]], dtype=np.float32)


def pq_to_linear(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """SMPTE ST 2084 signal in [0,1] to light relative to reference white."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    p = signal ** (1 / m2)
    nits: npt.NDArray[np.float64] = (np.maximum(p - c1, 0) / (c2 - c3 * p)) ** (1 / m1) * 10_000
    return nits / REFERENCE_WHITE_NITS


def hlg_to_scene(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """ARIB STD-B67 signal in [0,1] to scene light in [0,1]."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


@cache
def _linear_table(transfer: str) -> Floats:
    """float32 [65536]: 16-bit signal to linear light; a pure function of its name, computed once."""
    signal = np.arange(65536, dtype=np.float64) / 65535
    light = {"smpte2084": pq_to_linear, "arib-std-b67": hlg_to_scene}.get(transfer, lambda s: s**DISPLAY_GAMMA)(signal)
    table = light.astype(np.float32)
    table.setflags(write=False)
    return table


def _compress_highlights(linear: Floats) -> Floats:
    """Scale each pixel so that its largest component lies within [0,1]; hue is kept. In and out [H,W,3]."""
    peak = PEAK_NITS / REFERENCE_WHITE_NITS
    largest = linear.max(axis=2)
    reach = np.clip((largest - KNEE) / (peak - KNEE), 0, 1)
    slope = (peak - KNEE) / (1 - KNEE)
    mapped = KNEE + (1 - KNEE) * reach * slope / (1 + reach * (slope - 1))
    gain = np.where(largest > KNEE, mapped / np.maximum(largest, 1e-6), 1).astype(np.float32)
    result: Floats = linear * gain[..., None]
    return result


def to_sdr(image: npt.NDArray[np.uint16], transfer: str) -> Image:
    """Map BT.2020 R'G'B' to BT.709 R'G'B'.

    Args:
        image: uint16 [H,W,3], full range.
        transfer: FFmpeg's name of the transfer curve; ``smpte2084`` (PQ) and ``arib-std-b67`` (HLG) are
            compressed, everything else is taken as SDR, where only the gamut changes.

    Returns:
        uint8 [H,W,3], full range.
    """
    linear: Floats = _linear_table(transfer)[image]
    if transfer == "arib-std-b67":  # the system gamma of a 1000 cd/m2 display, applied to luminance
        luma = np.maximum(cv2.transform(linear, _BT2020_LUMA), 1e-6).reshape(*linear.shape[:2], 1)
        linear = (linear * luma**0.2 * (PEAK_NITS / REFERENCE_WHITE_NITS)).astype(np.float32)
    linear = np.maximum(cv2.transform(linear, _BT2020_TO_BT709), 0).astype(np.float32, copy=False)
    if transfer in ("smpte2084", "arib-std-b67"):
        linear = _compress_highlights(linear)
    display = cv2.pow(np.minimum(linear, 1), 1 / DISPLAY_GAMMA)
    return np.rint(display * 255).astype(np.uint8)
