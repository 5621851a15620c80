"""How a model's latents lie on the picture: what moves with the motion are cells of it.

nano     latents [48, h, w]  --pixel shuffle-->  cells of 1 px, [3, 4 h, 4 w]     a mirrored border of 16 px
a VAE    latents [4, h, w]   are cells of 8 px
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

Region = tuple[slice, slice]
"""Rows and columns of a padded picture."""


@dataclass(frozen=True)
class Canvas:
    """`latent_px`: side of the square of pixels that a latent stands for; `cell_px`: of a cell, of which a latent holds
    (latent_px / cell_px)^2. Pictures are mirrored by `border_px` and up to multiples of `multiple_px`. Estimates stay
    within `limit`, if there is one: interpolation overshoots."""

    latent_px: int
    cell_px: int
    border_px: int
    multiple_px: int
    limit: float | None = None

    def cells(self, latents: Tensor) -> Tensor:
        """Latents [N, C k^2, h, w] as cells [N, C, k h, k w]."""
        return F.pixel_shuffle(latents, self.latent_px // self.cell_px)

    def latents(self, cells: Tensor) -> Tensor:
        """Inverse of `cells`."""
        return F.pixel_unshuffle(cells, self.latent_px // self.cell_px)

    def latents_in(self, region: Region) -> Region:
        """The rows and columns of latents that stand for those of pixels, which are multiples of latents."""
        rows, columns = (slice(side.start // self.latent_px, side.stop // self.latent_px) for side in region)
        return rows, columns

    def cells_in(self, region: Region) -> Region:
        """As `latents_in`, of cells."""
        rows, columns = (slice(side.start // self.cell_px, side.stop // self.cell_px) for side in region)
        return rows, columns

    def bounded(self, estimates: Tensor) -> Tensor:
        """Estimates within the limit."""
        return estimates if self.limit is None else estimates.clamp(-self.limit, self.limit)

    def pad(self, images: Tensor) -> Tensor:
        """Mirror `images` [N, C, H, W] around themselves; those too small to be mirrored repeat their border."""
        height, width = images.shape[-2:]
        right, bottom = (self.border_px + -side % self.multiple_px for side in (width, height))
        if not right and not bottom and not self.border_px:
            return images
        mode = "reflect" if right < width and bottom < height else "replicate"
        return F.pad(images, (self.border_px, right, self.border_px, bottom), mode=mode)

    def unpad(self, images: Tensor, height: int, width: int) -> Tensor:
        """What `pad` put the border around, [N, C, height, width]."""
        border = self.border_px
        return images[..., border : border + height, border : border + width]
