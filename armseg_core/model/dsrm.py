"""DSRM: domain-specific refinement of the last-stage features (SegRGB-X, third contribution; our form).

The MA-CLIP embedding and the data set (the "domain" of the name) choose, per image, channel weights and a
mixture of low-rank depth-wise experts. Both branches end in zeros at the start, so the module begins as the
identity.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from armseg_core.model.layers import zero_init


class DSRM(nn.Module):
    """width: D. embed_dim: E, 0: without the MA-CLIP embedding. datasets: number of data sets."""

    def __init__(self, width: int, embed_dim: int, datasets: int, experts: int, rank: int) -> None:
        super().__init__()
        hidden = max(32, width // 2)
        self.experts, self.rank = experts, rank
        self.domain = nn.Embedding(datasets, hidden)  # saved models know it by this name
        self.embedding = nn.Linear(embed_dim, hidden) if embed_dim else None
        self.pooled = nn.Linear(width, hidden)
        self.router = nn.Linear(hidden, experts)
        self.attention = zero_init(nn.Linear(hidden, width))
        self.down = nn.Conv2d(width, experts * rank, 1)
        # experts see neighborhoods of different size: dilation 1, 2, 3, ... in turn
        self.spatial = nn.ModuleList(
            nn.Conv2d(rank, rank, 3, padding=1 + e % 3, dilation=1 + e % 3, groups=rank)
            for e in range(experts)
        )
        self.up = zero_init(nn.Conv2d(experts * rank, width, 1))

    def forward(self, x: Tensor, embedding: Tensor | None, dataset: int) -> Tensor:
        """x (B, D, h, w), embedding (B, E) or None, dataset: its index -> (B, D, h, w)."""
        state = self.pooled(x.mean((2, 3))) + self.domain.weight[dataset]
        if self.embedding is not None:
            assert embedding is not None
            state = state + self.embedding(embedding)
        state = F.gelu(state)
        weights = self.router(state).softmax(-1) * self.experts  # (B, experts), mean 1
        low = self.down(x).unflatten(1, (self.experts, self.rank))
        mixed = torch.stack(
            [
                F.gelu(conv(low[:, e])) * weights[:, e, None, None, None]
                for e, conv in enumerate(self.spatial)
            ],
            dim=1,
        )
        refined: Tensor = (
            x + x * self.attention(state).tanh()[:, :, None, None] + self.up(mixed.flatten(1, 2))
        )
        return refined
