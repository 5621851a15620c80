"""What is left of the source: its edges, and how sharp the result is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def _luma(image: Image) -> NDArray[np.float32]:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _edges(image: Image) -> NDArray[np.float32]:
    blurred = cv2.GaussianBlur(_luma(image), (0, 0), 2.0)
    return np.hypot(cv2.Sobel(blurred, cv2.CV_32F, 1, 0), cv2.Sobel(blurred, cv2.CV_32F, 0, 1))


def edge_correlation(image: Image, source: Image) -> float:
    """Pearson correlation of the edge strengths (Sobel after a Gaussian blur of 2 px); 1 is the source's structure.

    Both uint8 [H, W, 3] of one size. 0 if either has no edges at all.
    """
    a, b = _edges(image).ravel(), _edges(source).ravel()
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def structure_similarity(image: Image, source: Image) -> float:
    """SSIM (Wang et al., "Image quality assessment", 2004) of the edge strengths of two pictures, uint8 [H, W, 3].

    1 is the source's structure, whatever its colours. The edges are divided by their own standard deviation first.
    """
    from skimage.metrics import structural_similarity  # of the evaluation's packages: not needed to stylize

    a, b = (edges / max(float(edges.std()), 1e-6) for edges in (_edges(image), _edges(source)))
    span = float(max(a.max(), b.max(), 1e-6))
    return float(structural_similarity(a, b, data_range=span))  # type: ignore[no-untyped-call]


def laplacian_variance(image: Image) -> float:
    """Variance of the Laplacian of luminance, the usual measure of sharpness; uint8 [H, W, 3]."""
    return float(cv2.Laplacian(_luma(image), cv2.CV_32F).var())


def sharpness_ratio(image: Image, source: Image) -> float:
    """Laplacian variance of `image` over that of `source`; 1 is as sharp as the source."""
    return laplacian_variance(image) / max(laplacian_variance(source), 1e-6)
