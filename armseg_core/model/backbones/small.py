"""Our own small encoder: plain 3x3 convolutions, fast on a CPU, trained from scratch."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from armseg_core.errors import CheckpointError
from armseg_core.model.backbones.base import IMAGENET_MEAN, IMAGENET_STD, STRIDES, Backbone, BackboneRow

WIDTHS = (24, 48, 96, 160, 224)
Norm = Literal["group", "batch"]


def _block(channels: int, out: int, stride: int, norm: Norm) -> nn.Sequential:
    """3x3 convolution, norm, ReLU."""
    normalize = nn.GroupNorm(8, out) if norm == "group" else nn.BatchNorm2d(out)
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), normalize, nn.ReLU(inplace=True))


class SmallBackbone(Backbone):
    """A block of stride 2, then four levels of a block of stride 2 and one more.

    Args:
        widths: channels of the five maps, multiples of 8.
        norm: "group" for streams in which sensors mix: their batch statistics differ.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, norm: Norm = "group") -> None:
        super().__init__(IMAGENET_MEAN, IMAGENET_STD)
        self.channels, self.strides = widths, (2, *STRIDES)
        levels = [nn.Sequential(_block(a, b, 2, norm), _block(b, b, 1, norm)) for a, b in pairwise(widths)]
        self.encoder = nn.ModuleList([_block(3, widths[0], 2, norm), *levels])

    def encode(self, x: Tensor) -> list[Tensor]:
        maps = []
        for level in self.encoder.children():
            x = level(x)
            maps.append(x)
        return maps


def _build(name: str, pretrained: bool) -> Backbone:
    if pretrained:
        raise CheckpointError(
            "the backbone 'small' has no published weights", hint="--backbone-weights none, or a file"
        )
    return SmallBackbone()


ROW = BackboneRow(
    name="small",
    title="own CNN, 1.3 M parameters, from scratch",
    examples=("small",),
    matches=lambda name: name == "small",
    build=_build,
    license=lambda name: "",
)
