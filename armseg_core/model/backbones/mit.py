"""MiT, the encoder of SegFormer (Xie et al. 2021), with the names of the weights that its authors published.

Written here rather than taken from transformers: its names of layers change between versions, and a model
folder must stay readable.
"""

from __future__ import annotations

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from armseg_core.model.backbones.base import IMAGENET_MEAN, IMAGENET_STD, STRIDES, Backbone, BackboneRow, fill

# Xie et al. 2021, table 6
_DEPTHS = {
    0: (2, 2, 2, 2),
    1: (2, 2, 2, 2),
    2: (3, 4, 6, 3),
    3: (3, 4, 18, 3),
    4: (3, 8, 27, 3),
    5: (3, 6, 40, 3),
}
_SMALL, _WIDE = (32, 64, 160, 256), (64, 128, 320, 512)  # B0; B1 to B5
_HEADS = (1, 2, 5, 8)
_REDUCTION = (8, 4, 2, 1)  # keys and values are taken from a map this much coarser
_EPS = 1e-6  # of every norm, as in the published code; the ones inside attention have torch's own
_MLP_RATIO = 4


def _tokens(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h w, C)."""
    return x.flatten(2).transpose(1, 2)


def _as_map(x: Tensor, height: int, width: int) -> Tensor:
    """(B, h w, C) -> (B, C, h, w)."""
    return x.transpose(1, 2).reshape(len(x), -1, height, width)


class _PatchEmbeddings(nn.Module):
    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, out, kernel, stride, kernel // 2)
        self.layer_norm = nn.LayerNorm(out)


class _SelfAttention(nn.Module):
    """Queries of every place; keys and values of a coarser map."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.query, self.key, self.value = (nn.Linear(channels, channels) for _ in range(3))
        if reduction > 1:
            self.sr = nn.Conv2d(channels, channels, reduction, reduction)
            self.layer_norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """x (B, h w, C) -> the same shape."""
        source = x
        if self.reduction > 1:
            source = self.layer_norm(_tokens(self.sr(_as_map(x, height, width))))
        q, k, v = (
            layer(t).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, t in ((self.query, x), (self.key, source), (self.value, source))
        )
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)


class _Attention(nn.Module):
    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.self = _SelfAttention(channels, heads, reduction)
        self.output = nn.ModuleDict({"dense": nn.Linear(channels, channels)})

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """x (B, h w, C) -> the same shape."""
        out: Tensor = self.output["dense"](self.self(x, height, width))
        return out


class _MixMLP(nn.Module):
    """A depth-wise convolution between its layers stands for positional embeddings."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = _MLP_RATIO * channels
        self.dense1 = nn.Linear(channels, hidden)
        self.dwconv = nn.ModuleDict({"dwconv": nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)})
        self.dense2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """x (B, h w, C) -> the same shape."""
        x = self.dwconv["dwconv"](_as_map(self.dense1(x), height, width))
        out: Tensor = self.dense2(F.gelu(_tokens(x)))
        return out


class _Block(nn.Module):
    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.layer_norm_1 = nn.LayerNorm(channels, eps=_EPS)
        self.attention = _Attention(channels, heads, reduction)
        self.layer_norm_2 = nn.LayerNorm(channels, eps=_EPS)
        self.mlp = _MixMLP(channels)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """x (B, h w, C) -> the same shape."""
        x = x + self.attention(self.layer_norm_1(x), height, width)
        mixed: Tensor = x + self.mlp(self.layer_norm_2(x), height, width)
        return mixed


class MitBackbone(Backbone):
    """MiT-B0 to -B5, number 0 to 5."""

    def __init__(self, number: int) -> None:
        super().__init__(IMAGENET_MEAN, IMAGENET_STD)
        self.channels, self.strides = _SMALL if number == 0 else _WIDE, STRIDES
        self.dropped = frozenset({"classifier.weight", "classifier.bias"})
        before = (3, *self.channels)
        self.encoder = nn.Module()
        self.encoder.patch_embeddings = nn.ModuleList(
            _PatchEmbeddings(before[i], c, 7 if i == 0 else 3, 4 if i == 0 else 2)
            for i, c in enumerate(self.channels)
        )
        self.encoder.block = nn.ModuleList(
            nn.ModuleList(_Block(c, heads, reduction) for _ in range(depth))
            for c, heads, reduction, depth in zip(
                self.channels, _HEADS, _REDUCTION, _DEPTHS[number], strict=True
            )
        )
        self.encoder.layer_norm = nn.ModuleList(nn.LayerNorm(c) for c in self.channels)
        self.encoder.apply(_initialize)

    def encode(self, x: Tensor) -> list[Tensor]:
        maps = []
        encoder: Any = self.encoder
        stages = (encoder.patch_embeddings, encoder.block, encoder.layer_norm)
        for embed, blocks, norm in zip(*(stage.children() for stage in stages), strict=True):
            x = embed.proj(x)
            h, w = x.shape[-2:]
            x = embed.layer_norm(_tokens(x))
            for block in blocks.children():
                x = block(x, h, w)
            x = _as_map(norm(x), h, w).contiguous()
            maps.append(x)
        return maps


@torch.no_grad()
def _initialize(module: nn.Module) -> None:
    """Weights from N(0, 0.02), biases zero: the initialization that MiT is published with."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def convert(backbone: Backbone, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`segformer.encoder.`, `encoder.` or no prefix; the heads of published models are left out."""
    own = next(iter(backbone.encoder.state_dict()))
    prefix = next((name.removesuffix(own) for name in state if name.endswith(own)), "")
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if not re.search(r"(^|\.)(classifier|decode_head)\.", name)
    }


def _build(name: str, pretrained: bool) -> Backbone:
    backbone = MitBackbone(int(name[-1]))
    if pretrained:
        import huggingface_hub

        path = huggingface_hub.hf_hub_download(f"nvidia/{name.replace('_', '-')}", "pytorch_model.bin")
        fill(backbone, convert(backbone, torch.load(path, map_location="cpu", weights_only=True)))
    return backbone


ROW = BackboneRow(
    name="mit_b0 .. mit_b5",
    title="MiT of SegFormer",
    examples=tuple(f"mit_b{number}" for number in _DEPTHS),
    matches=lambda name: re.fullmatch(r"mit_b[0-5]", name) is not None,
    build=_build,
    license=lambda name: "NVIDIA Source Code License for SegFormer, no commercial use",
    convert=convert,
)
