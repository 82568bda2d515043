"""The voxel grid of event files that hold no single events: an approximation that keeps what they tell.

Shape letters: B bins, H rows, W columns.
"""

from __future__ import annotations

import warnings

import numpy as np

from armseg_core.arrays import EventMoments, EventPicture
from armseg_core.errors import ArmsegWarning, UsageError
from armseg_core.resizing import resize_image
from armseg_core.sensors.event.kernels import normalized
from armseg_core.sensors.event.options import EventOptions

_USED = {"bins", "norm", "size", "crop_bottom"}  # the other options are about single events


def still_voxels(data: EventPicture | EventMoments, options: EventOptions) -> np.ndarray:
    """Signed voxel grid (B, H, W) float32, with `bins`, `norm`, `crop_bottom` and `size` of the options.

    A picture is in every bin. Of moments, the n events of a pixel and polarity are placed half at mean -
    deviation and half at mean + deviation, which keeps count, mean and variance. `size` resizes the finished
    frame as an image.

    Raises:
        UsageError: `crop_bottom` leaves no row.
    """
    others = sorted(options.model_fields_set - _USED)
    if others:
        flags = ", ".join("--" + name.replace("_", "-") for name in others)
        warnings.warn(ArmsegWarning(f"{flags} without effect: the file holds no single events"), stacklevel=3)
    if isinstance(data, EventPicture):
        grid = np.repeat(data.polarity[None], options.bins, axis=0)
    else:
        grid = _placed(data, options.bins)
    rows = grid.shape[1] - options.crop_bottom
    if rows < 1:
        raise UsageError(
            f"cuts off {options.crop_bottom} rows",
            where="--crop-bottom",
            expected=f"less than the {grid.shape[1]} rows of the sensor",
        )
    grid = grid[:, :rows]
    return resize_image(normalized(grid) if options.norm == "dsec" else grid, options.size)


def _placed(data: EventMoments, bins: int) -> np.ndarray:
    grid = np.zeros((bins, *data.count.shape[1:]), np.float32)
    for sign, count, mean, deviation in zip((1, -1), data.count, data.mean, data.deviation, strict=True):
        for time in (mean - deviation, mean + deviation):
            position = np.clip(time, 0, 1) * (bins - 1)
            for index in range(bins):
                grid[index] += sign * count / 2 * np.maximum(0, 1 - np.abs(index - position))
    return grid
