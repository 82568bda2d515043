"""Building blocks shared by the parts of the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from armseg_core.errors import CheckpointError


class SplitMHA(nn.Module):
    """Multi-head attention with separate q, k, v, out projections, equal to `nn.MultiheadAttention`.

    peft cannot adapt the fused projection of `nn.MultiheadAttention` soundly (its delta is applied twice and
    the frozen weights drift), so the attention of native open_clip towers is replaced by this module right
    after the weights are loaded. Call signature and return value are those open_clip's blocks use.
    """

    def __init__(self, dim: int, heads: int, bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim, bias=bias)
        self.k_proj = nn.Linear(dim, dim, bias=bias)
        self.v_proj = nn.Linear(dim, dim, bias=bias)
        self.out_proj = nn.Linear(dim, dim, bias=bias)

    @classmethod
    def from_fused(cls, fused: nn.MultiheadAttention) -> SplitMHA:
        """The same attention with the weights, dtype and device of a fused one (q, k, v of one size)."""
        if fused.in_proj_weight is None or fused.bias_k is not None or not fused.batch_first:
            raise ValueError("expected batch-first attention with one fused projection and no bias_k")
        split = cls(fused.embed_dim, fused.num_heads, bias=fused.in_proj_bias is not None)
        split = split.to(fused.in_proj_weight)
        with torch.no_grad():
            for layer, weight in zip(split.qkv(), fused.in_proj_weight.chunk(3), strict=True):
                layer.weight.copy_(weight)
            split.out_proj.weight.copy_(fused.out_proj.weight)
            if fused.in_proj_bias is not None:
                for layer, bias in zip(split.qkv(), fused.in_proj_bias.chunk(3), strict=True):
                    layer.bias.copy_(bias)
                split.out_proj.bias.copy_(fused.out_proj.bias)
        return split

    def qkv(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        """The three input projections."""
        return self.q_proj, self.k_proj, self.v_proj

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """q (B, L, C), k v (B, M, C) -> (B, L, C); attn_mask: added to the logits, or True where allowed."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in zip(self.qkv(), (q, k, v), strict=True)
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self.out_proj(out.transpose(1, 2).flatten(-2)), None


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of a (B, C, h, w) map."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class StandardizedConv2d(nn.Conv2d):
    """Convolution whose filters have mean 0 and variance 1 over their inputs.

    Weight standardization (Qiao et al. 2019, eq. 3): with group norm after it, it trains about as fast as
    with batch norm and needs no batch statistics, which several sensors, small batches and several processes
    would spoil.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        # the smallest variance that counts: a filter of equal weights stays finite
        variance, mean = torch.var_mean(weight, (1, 2, 3), keepdim=True, correction=0)
        standardized = (weight - mean) * torch.rsqrt(variance + 1e-10)
        out: Tensor = self._conv_forward(x, standardized, self.bias)
        return out


class ConvBlock(nn.Sequential):
    """3x3 convolution, group norm, ReLU: (B, C, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        groups = next(g for g in (8, 4, 2, 1) if out % g == 0)
        super().__init__(
            StandardizedConv2d(channels, out, 3, stride, 1, bias=False),
            nn.GroupNorm(groups, out),
            nn.ReLU(inplace=True),
        )


class Stages(nn.ModuleList):
    """Four stages of two 3x3 blocks, each halving the map: strides 4, 8, 16, 32 after a stride-2 stem."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__(nn.Sequential(ConvBlock(a, b, 2), ConvBlock(b, b)) for a, b in pairwise(widths))


def refuse_other_weights(
    own: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    hint: str,
    *,
    needless: tuple[str, ...] = ("num_batches_tracked",),
    dropped: Collection[str] = (),
    where: object = None,
) -> None:
    """Compare weights by name and shape with those of a network, before it takes them.

    Args:
        own: the network's. given: the file's.
        hint: what to try where they do not fit.
        needless: ends of names that the file need not have.
        dropped: names that the file may have and the network has no use for.
        where: the file, for the message.

    Raises:
        CheckpointError: tensors are missing, unknown or of another shape.
    """
    missing = [n for n in own if n not in given and not n.endswith(needless)]
    unknown = [n for n in given if n not in own and n not in dropped]
    reshaped = [n for n in given if n in own and given[n].shape != own[n].shape]
    if missing or unknown or reshaped:
        raise CheckpointError(
            f"weights are of another architecture ({len(missing)} tensors missing, {len(unknown)} unknown, "
            f"{len(reshaped)} of another shape, first '{(missing or unknown or reshaped)[0]}')",
            where=where,
            hint=hint,
        )


def zero_init(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """Zero the weights of a layer, so that the branch it ends starts as nothing."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def resize(x: Tensor, size: Sequence[int], mode: str = "bilinear", antialias: bool = False) -> Tensor:
    """Resize of a (B, C, h, w) map to `size`, pixel centers kept; the same tensor when it already fits."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode=mode, align_corners=False, antialias=antialias)
