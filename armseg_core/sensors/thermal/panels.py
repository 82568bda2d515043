"""Thermal frames as pictures and panels."""

from __future__ import annotations

import numpy as np

from armseg_core.files.tensor_file import TensorInfo
from armseg_core.visualization.canvas import Panel
from armseg_core.visualization.colors import apply_color_map, robust_range
from armseg_core.visualization.panels import mapped, unit_text

THERMAL_MAP = "inferno"


def picture(frame: np.ndarray) -> np.ndarray:
    """The model tensor (1, H, W) as RGB."""
    return apply_color_map(frame[0], *robust_range(frame[0], percent=0.5), THERMAL_MAP)


def panels(frame: np.ndarray, info: TensorInfo) -> list[Panel] | None:
    """One channel, inferno."""
    if len(frame) != 1:
        return None
    frame = frame.astype(np.float32)
    caption = info.channels[0].replace("_", " ")
    if info.units[:1] == ("fraction of range",):
        caption += ", relative to the range of the frame"
    return [mapped(frame[0], THERMAL_MAP, unit_text(info.units), caption)]
