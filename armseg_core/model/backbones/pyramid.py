"""Maps of four strides from a plain ViT, whose own all have one: ViTDet's simple pyramid, and a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from armseg_core.errors import UsageError
from armseg_core.model.backbones.base import STRIDES, Backbone, BackboneRow
from armseg_core.model.backbones.hierarchical import (
    PLAIN,
    create,
    family,
    published_names,
    weights_license,
)
from armseg_core.model.layers import LayerNorm2d, resize

WIDTH = 192  # of every map; ViTDet's 256 is made for models of 86 M parameters and more
_STRIDE = 16  # of the maps of the ViT


def _up(channels: int, out: int) -> nn.ConvTranspose2d:
    """Twice the size."""
    return nn.ConvTranspose2d(channels, out, 2, 2)


class SimplePyramid(nn.Module):
    """Maps of stride 16 -> four maps of one width at strides 4, 8, 16, 32 (Li et al. 2022, section 3).

    Deconvolutions to a quarter and half the stride, the map itself, and a max-pool; then a 1x1 and a 3x3
    convolution with layer norm for each.

    Args:
        channels: of the map for each stride, fine to coarse; or of the one (the last) that serves for all.
        width: channels of every map that comes out.
    """

    def __init__(self, channels: Sequence[int], width: int = WIDTH) -> None:
        super().__init__()
        finest, fine, middle, coarse = channels if len(channels) > 1 else tuple(channels) * len(STRIDES)
        scales = (
            (
                nn.Sequential(
                    _up(finest, finest // 2),
                    LayerNorm2d(finest // 2),
                    nn.GELU(),
                    _up(finest // 2, finest // 4),
                ),
                finest // 4,
            ),
            (_up(fine, fine // 2), fine // 2),
            (nn.Identity(), middle),
            (nn.MaxPool2d(2), coarse),
        )
        self.levels = nn.ModuleList(
            nn.Sequential(
                scale,
                nn.Conv2d(out, width, 1, bias=False),
                LayerNorm2d(width),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                LayerNorm2d(width),
            )
            for scale, out in scales
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """maps: one, or one per stride, (B, C, h, w) -> (B, width, 4 h, 4 w) to (B, width, h / 2, w / 2)."""
        sources = maps if len(maps) > 1 else tuple(maps) * len(self.levels)
        return [level(source) for level, source in zip(self.levels, sources, strict=True)]


class PlainViTBackbone(Backbone):
    """A plain ViT of timm (DINOv3, DINOv2, DeiT, ...) under a simple pyramid, which always trains.

    With patches of another size than 16 the image is resized first, so that a patch still covers 16 pixels of
    the original.
    """

    def __init__(self, name: str, pretrained: bool = False) -> None:
        model = create(name, pretrained)
        super().__init__(model.pretrained_cfg["mean"], model.pretrained_cfg["std"])
        self.pretrained = pretrained
        patch = tuple(model.patch_embed.patch_size)
        if patch[0] != patch[1] or not hasattr(model, "norm"):
            raise UsageError(f"the timm model '{name}' has patches of {patch}", expected="square ones")
        names = set(model.state_dict())
        last = len(model.blocks) - 1
        self.taps = model.prune_intermediate_layers(indices=[last], prune_norm=False, prune_head=True)
        self.dropped = frozenset(names - set(model.state_dict()))
        self.encoder, self.patch = model, int(patch[0])
        self.channels, self.strides = (WIDTH,) * len(STRIDES), STRIDES
        self.pyramid = SimplePyramid((int(model.embed_dim),))

    def encode(self, x: Tensor) -> list[Tensor]:
        h, w = (side // _STRIDE * self.patch for side in x.shape[-2:])
        model: Any = self.encoder
        x = resize(x, (h, w), antialias=self.patch < _STRIDE)
        maps: list[Tensor] = model.forward_intermediates(
            x, indices=self.taps, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        pyramid: list[Tensor] = self.pyramid(maps)
        return pyramid


ROW = BackboneRow(
    name="vit_...",
    title="plain ViT of timm under a pyramid (ViTDet)",
    examples=("vit_tiny_patch16_224", "vit_small_patch16_dinov3", "vit_small_patch14_dinov2"),
    matches=lambda name: family(name) in PLAIN,
    build=PlainViTBackbone,
    license=weights_license,
    convert=published_names,
)
