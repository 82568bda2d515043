"""Light feature-pyramid decoder with a stride-4 stem, and the text-embedding pixel classifier."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from armseg_core.model.layers import ConvBlock, resize


class Stem(nn.Module):
    """Convolutional features of an input at stride 4, for boundaries finer than a patch.

    (B, C, H, W) -> (B, width, H / 4, W / 4).
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvBlock(channels, width // 2, 2), ConvBlock(width // 2, width, 2), ConvBlock(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features


class Decoder(nn.Module):
    """Four fused maps of width D, top down, then joined with the stem: -> (B, E, H / 4, W / 4)."""

    def __init__(self, width: int, stem_width: int, embed_dim: int) -> None:
        super().__init__()
        self.smooth = nn.ModuleList(ConvBlock(width, width) for _ in range(3))
        self.join = nn.Conv2d(width + stem_width, width, 1)
        self.refine = nn.Sequential(ConvBlock(width, width), ConvBlock(width, width))
        self.embed = nn.Conv2d(width, embed_dim, 1)

    def forward(self, maps: list[Tensor], stem: Tensor) -> Tensor:
        """maps: shallow to deep, (B, D, h_s, w_s). stem: (B, stem width, H / 4, W / 4)."""
        x = maps[-1]
        for smooth, finer in zip(self.smooth, reversed(maps[:-1]), strict=True):
            x = smooth(resize(x, finer.shape[-2:]) + finer)
        x = self.join(torch.cat([resize(x, stem.shape[-2:]), stem], dim=1))
        pixels: Tensor = self.embed(self.refine(x))
        return pixels


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
