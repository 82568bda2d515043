"""Fusion of the RGB and the sensor stream at one stage."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from armseg_core.model.layers import zero_init


class GatedFusion(nn.Module):
    """rgb + gate(rgb, sensor) * sensor, with a gate per place and channel.

    Without a sensor the result is the RGB map itself, bit for bit; without RGB it is the sensor map.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = zero_init(nn.Conv2d(2 * width, width, 1))
        assert self.gate.bias is not None
        nn.init.constant_(self.gate.bias, 1.0)  # sigmoid 0.73: the sensor counts from the start

    def forward(self, rgb: Tensor | None, sensor: Tensor | None) -> Tensor:
        """rgb, sensor: (B, D, h, w) or None (not both) -> (B, D, h, w)."""
        if sensor is None:
            assert rgb is not None
            return rgb
        if rgb is None:
            return sensor
        return rgb + torch.sigmoid(self.gate(torch.cat([rgb, sensor], dim=1))) * sensor
