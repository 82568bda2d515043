"""Modality-aligned embeddings: learned prompts that close the gap between a sensor and MA-CLIP's guidance.

SegRGB-X (arXiv 2603.28023), second contribution; the abstract is all that is public, so the form is ours: at
every guided stage of the sensors' stream the places of the map attend to a few prompts of the modality, which
are shifted and scaled by the MA-CLIP embedding of the stream. The output projection starts at zero: at step 0
the map is the plain stream's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from armseg_core.model.layers import zero_init


class AlignedEmbedding(nn.Module):
    """One stage. channels: C of its map. embed_dim: E. 0: the prompts are not conditioned on it."""

    def __init__(
        self,
        channels: int,
        embed_dim: int,
        modalities: tuple[str, ...],
        prompts: int,
        dim: int = 64,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.prompts = nn.ParameterDict(
            {m: nn.Parameter(torch.randn(prompts, dim) * 0.5) for m in modalities}
        )
        self.condition = nn.Linear(embed_dim, 2 * dim) if embed_dim else None
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = zero_init(nn.Linear(dim, channels))
        if self.condition is not None:
            nn.init.normal_(self.condition.weight, std=0.5)
            nn.init.zeros_(self.condition.bias)

    def forward(self, x: Tensor, embedding: Tensor | None, modality: str) -> Tensor:
        """x (B, C, h, w), embedding (B, E), None where the prompts are not conditioned -> (B, C, h, w)."""
        b, _, h, w = x.shape
        prompts = self.prompts[modality].expand(b, -1, -1)
        if self.condition is not None:
            assert embedding is not None
            scale, shift = self.condition(embedding).unsqueeze(1).chunk(2, dim=-1)
            prompts = prompts * (1 + scale) + shift
        q = self.query(self.norm(x.flatten(2).transpose(1, 2)))
        k, v = self.key_value(prompts).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        aligned: Tensor = x + self.out(out).transpose(1, 2).unflatten(2, (h, w))
        return aligned
