"""The row of the RGB camera: the image that every sensor goes with. It is read, never converted."""

from __future__ import annotations

import numpy as np

from armseg_core.sensors.modality import Modality


def picture(frame: np.ndarray) -> np.ndarray:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8."""
    levels: np.ndarray = np.rint(np.clip(np.nan_to_num(frame), 0, 1) * 255)
    return levels.astype(np.uint8).transpose(1, 2, 0)


RGB = Modality(
    name="rgb",
    title="RGB camera",
    prompt="photo",
    channels=("red", "green", "blue"),
    value_range=(0.0, 1.0),
    representation="image",
    pseudo_rgb=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    aliases=("color", "colour"),
    words=("image", "photo", "img", "label", "mask", "gt", "semantic", "annotation"),  # pictures of no sensor
    picture=picture,
)
