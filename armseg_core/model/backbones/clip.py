"""The guide's own tower as the backbone: the other reading of the paper ("built upon a LoRA-tuned CLIP")."""

from __future__ import annotations

from torch import Tensor, nn

from armseg_core.model.backbones.base import STRIDES, Backbone
from armseg_core.model.backbones.pyramid import WIDTH, SimplePyramid
from armseg_core.model.layers import LayerNorm2d, resize
from armseg_core.model.ma_clip import MAClip

_STRIDE = 16  # at which the maps of a plain ViT are taken, whatever its patch


class ClipBackbone(Backbone):
    """MA-CLIP's tower with the adapter of RGB, at full resolution, under a simple pyramid.

    The tower stays frozen and the guide's: it is not a part of this module, and only the pyramid is saved
    with it.
    """

    def __init__(self, guide: MAClip) -> None:
        super().__init__((0.0,) * 3, (1.0,) * 3)  # the tower standardizes
        self._guide = [guide]  # in a list: not a child of this module
        tower = guide.tower
        self.encoder = nn.Identity()
        self.patch = _STRIDE if tower.kind == "pyramid" else tower.strides[-1]
        if tower.kind == "pyramid":
            self.out: nn.Module = nn.ModuleList(
                nn.Sequential(LayerNorm2d(c), nn.Conv2d(c, WIDTH, 1)) for c in tower.channels
            )
        else:
            self.out = SimplePyramid(tower.channels)
        self.channels, self.strides = (WIDTH,) * len(STRIDES), STRIDES

    def encode(self, x: Tensor) -> list[Tensor]:
        (guide,) = self._guide
        size = [side // _STRIDE * self.patch for side in x.shape[-2:]]
        out = guide.stream(resize(x, size, antialias=True), "rgb")
        if isinstance(self.out, SimplePyramid):
            pyramid: list[Tensor] = self.out(out.maps)
            return pyramid
        assert isinstance(self.out, nn.ModuleList)
        sizes = [[side // stride for side in x.shape[-2:]] for stride in self.strides]
        return [resize(layer(m), s) for layer, m, s in zip(self.out, out.maps, sizes, strict=True)]
