"""Our own small encoder: plain 3x3 convolutions, fast on a CPU, trained from scratch."""

from __future__ import annotations

from torch import Tensor, nn

from armseg_core.errors import CheckpointError
from armseg_core.model.backbones.base import IMAGENET_MEAN, IMAGENET_STD, STRIDES, Backbone, BackboneRow
from armseg_core.model.layers import ConvBlock, Stages

WIDTHS = (24, 48, 96, 160, 224)


class SmallBackbone(Backbone):
    """A block of stride 2, then four stages of a block of stride 2 and one more.

    Args:
        widths: channels of the five maps.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__(IMAGENET_MEAN, IMAGENET_STD)
        self.channels, self.strides = widths, (2, *STRIDES)
        self.encoder = nn.ModuleList([ConvBlock(3, widths[0], 2), *Stages(widths)])

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
