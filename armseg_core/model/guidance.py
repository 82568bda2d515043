"""Guidance: the patch tokens of MA-CLIP, as maps, added to the maps of the segmenter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from armseg_core.model.layers import ConvBlock, LayerNorm2d, resize

# of a gate at the start: open enough that the maps act from the first step (zero gates never opened)
FIRST_GATE = 0.2


class TokenGuidance(nn.Module):
    """map + gate * block(tokens), at every guided stage.

    Tokens of the RGB image and of the sensors come through a projection of their own each; those of several
    sensors are averaged.

    Args:
        tokens: channels of the tower's last map.
        widths: channels of the guided maps.
        hidden: channels between them.
    """

    def __init__(self, tokens: int, widths: Sequence[int], hidden: int = 64) -> None:
        super().__init__()
        self.rgb, self.sensor = (
            nn.Sequential(LayerNorm2d(tokens), nn.Conv2d(tokens, hidden, 1)) for _ in range(2)
        )
        self.blocks = nn.ModuleList(ConvBlock(hidden, width) for width in widths)
        self.gates = nn.Parameter(torch.full((len(widths),), FIRST_GATE))

    def forward(self, maps: Sequence[Tensor], tokens: Mapping[str, Tensor]) -> list[Tensor]:
        """maps: (B, D_s, h_s, w_s) each. tokens: stream ('rgb' or a sensor) -> (B, C, h, w), not empty."""
        sensors = [x for name, x in tokens.items() if name != "rgb"]
        hidden = [self.rgb(tokens["rgb"])] if "rgb" in tokens else []
        if sensors:
            hidden.append(torch.stack([self.sensor(x) for x in sensors]).mean(0))
        guide = torch.stack(hidden).sum(0)
        return [
            x + gate * block(resize(guide, x.shape[-2:]))
            for x, gate, block in zip(maps, self.gates, self.blocks, strict=True)
        ]
