"""Depth as pictures and panels."""

from __future__ import annotations

import numpy as np

from armseg_core.files.tensor_file import TensorInfo
from armseg_core.sensors.depth.representations import RELATIVE_CHANNELS
from armseg_core.visualization.canvas import Panel
from armseg_core.visualization.colors import apply_color_map
from armseg_core.visualization.panels import (
    channels,
    distance_range,
    mapped,
    render_distance,
    to_uint8,
)

DEPTH_MAP = "viridis_r"
RELATIVE_MAP = "viridis"  # near is bright, as in DEPTH_MAP


def panels(frame: np.ndarray, info: TensorInfo) -> list[Panel] | None:
    """Of metric depth, inverse depth, HHA and normals."""
    frame = frame.astype(np.float32)
    if info.channels == ("depth", "valid", "inverse_depth"):
        return metric(frame)
    if info.channels == RELATIVE_CHANNELS:
        return [_relative(frame[0], frame[1] > 0.5)]
    drawn = {("inverse", 1): inverse, ("hha", 3): three_as_colors, ("normals", 3): three_as_colors}
    make = drawn.get((info.representation, len(frame)))
    return None if make is None else make(frame, info)


def picture(frame: np.ndarray) -> np.ndarray:
    """The model tensor (3, H, W) as RGB: near is bright, no measurement gray."""
    if is_relative(frame):
        return _relative(frame[2], frame[1] > 0.5).picture
    return render_distance(frame[0], frame[1] > 0.5, DEPTH_MAP)


def metric(frame: np.ndarray) -> list[Panel]:
    """Metric depth on a logarithmic scale, and inverse depth; or relative inverse depth alone."""
    if is_relative(frame):
        return [_relative(frame[2], frame[1] > 0.5)]
    meters, valid = frame[0], frame[1] > 0.5
    low, high = distance_range(meters, valid)
    note = f"{100 * (1 - valid.mean()):.1f}% without measurement (gray)"
    return [
        Panel(picture(frame), "depth", (DEPTH_MAP, low, high, "m", True), note=note),
        _inverse(np.where(valid, frame[2], 0)),
    ]


def is_relative(frame: np.ndarray) -> bool:
    """Whether a model tensor (3, H, W) holds relative inverse depth: valid pixels, and meters nowhere."""
    return not frame[0].any() and bool((frame[1] > 0.5).any())


def _relative(values: np.ndarray, valid: np.ndarray) -> Panel:
    note = f"1 = nearest of the picture; {100 * (1 - valid.mean()):.1f}% without measurement (gray)"
    image = apply_color_map(values, 0.0, 1.0, RELATIVE_MAP, valid=valid)
    return Panel(image, "relative inverse depth", (RELATIVE_MAP, 0.0, 1.0, "", False), note=note)


def inverse(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Inverse depth; 0 is invalid."""
    return [_inverse(frame[0])]


def _inverse(values: np.ndarray) -> Panel:
    return mapped(np.where(values > 0, values, np.nan), "viridis", "1/m", "inverse depth", percent=1.0)


def three_as_colors(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Three channels that make an image together (HHA, normals): the image, then the channels."""
    caption = ", ".join(info.channels) + " as red, green, blue"
    return [Panel(to_uint8(frame, info.value_range), caption), *channels(frame, info.channels, info.units)]
