"""Decoder: the way up from stride 32 to stride 2 (U-Net), and the text-embedding pixel classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from armseg_core.model.layers import ConvBlock, resize


def decoder_widths(first: int) -> tuple[int, ...]:
    """Channels of the five fused maps, from those at stride 2: 24 -> (24, 48, 96, 160, 224)."""
    return tuple(round(first * factor / 24) for factor in (24, 48, 96, 160, 224))


class Decoder(nn.Module):
    """Five fused maps at strides 2 to 32 -> pixels in text space (B, E, H / 2, W / 2).

    Ronneberger et al., MICCAI 2015, with one block per step and bilinear upsampling; the mean over the
    deepest map is added to it, which tells every place of the whole image. In training each step gives
    pixels of its own, which are classified too (deep supervision, Lee et al., AISTATS 2015).
    """

    def __init__(self, widths: Sequence[int], embed_dim: int) -> None:
        super().__init__()
        self.up = nn.ModuleList(ConvBlock(fine + coarse, fine) for fine, coarse in pairwise(widths))
        self.embed = nn.ModuleList(nn.Conv2d(width, embed_dim, 1) for width in widths)

    def forward(self, maps: Sequence[Tensor], every_step: bool = False) -> list[Tensor]:
        """maps: shallow to deep, (B, D_s, h_s, w_s). every_step: also the pixels of the coarser steps.

        Returns:
            Pixels (B, E, h, w), the finest first.
        """
        x = maps[-1] + maps[-1].mean((2, 3), keepdim=True)
        steps = [x]
        for up, finer in zip(reversed(self.up), reversed(maps[:-1]), strict=True):
            x = up(torch.cat([resize(x, finer.shape[-2:]), finer], dim=1))
            steps.insert(0, x)
        wanted = steps if every_step else steps[:1]
        return [embed(x) for embed, x in zip(self.embed, wanted, strict=False)]


class TextClassifier(nn.Module):
    """Pixels are classified by cosine against class-name text embeddings, plus a learned residual and bias.

    text: (K, E) frozen class matrix of one data set.
    """

    text: Tensor

    def __init__(self, text: Tensor) -> None:
        super().__init__()
        self.register_buffer(
            "text", text.clone(), persistent=False
        )  # saved apart, in class_embeddings.safetensors
        self.residual = nn.Parameter(torch.zeros_like(text))
        self.bias = nn.Parameter(torch.zeros(len(text)))
        # CLIP's first scale, and its limit of 100 below (Radford et al. 2021, section 2.5)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (B, E, h, w) -> logits (B, K, h, w)."""
        weight = F.normalize(self.text + self.residual, dim=-1)
        scale = self.log_scale.clamp(max=math.log(100.0)).exp()
        return F.conv2d(
            F.normalize(pixels, dim=1), (weight * scale)[:, :, None, None].to(pixels.dtype), self.bias
        )
