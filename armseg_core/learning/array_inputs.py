"""Images and model tensors that are given in memory: made fit for a model, or refused with what was expected.

Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from armseg_core.conversion.arrays_as_files import as_file, as_numbers, is_path
from armseg_core.errors import UsageError
from armseg_core.files.pictures import read_rgb, to_unit
from armseg_core.sensors.modalities import get_modality

_SLACK = 1e-3  # resizing and color transforms leave values a little outside of [0, 1]


def image_input(image: Any) -> tuple[np.ndarray, object]:
    """An RGB image, and what messages call it.

    Args:
        image: path; PIL image; or array: see `unit_image`.

    Returns:
        (3, H, W) float32 in [0, 1]; the path, or "the image".

    Raises:
        ArmsegError: unreadable, or no RGB image.
    """
    if is_path(image):
        return to_unit(read_rgb(os.fspath(image))), image
    if hasattr(image, "getbands"):  # of PIL
        with as_file(image) as path:
            return to_unit(read_rgb(path)), "the image"
    return unit_image(image), "the image"


def unit_image(image: Any) -> np.ndarray:
    """(3, H, W) float32 in [0, 1] of an array (3, H, W), (H, W, 3), (H, W, 4) or (H, W).

    Integers of 8 or 16 bits mean the full range of their type, floats lie in [0, 1]; alpha is dropped.

    Raises:
        UsageError: another shape, other integers, values outside of the range, or NaN.
    """
    array = as_numbers(image, "image")
    if array.ndim == 2:
        array = np.repeat(array[None], 3, axis=0)
    elif array.ndim == 3 and array.shape[0] != 3 and array.shape[2] in (3, 4):
        array = array[..., :3].transpose(2, 0, 1)
    if array.ndim != 3 or array.shape[0] != 3:
        expected = "(3, H, W), (H, W, 3) or (H, W): one image"
        raise UsageError(f"an array of shape {array.shape}", where="image", expected=expected)
    if array.dtype in (np.uint8, np.uint16):
        return np.ascontiguousarray(array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max))
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind != "f" or not (low >= -_SLACK and high <= 1 + _SLACK):
        raise UsageError(
            f"{array.dtype} values from {low:g} to {high:g}",
            where="image",
            expected="floats from 0 to 1, or uint8 or uint16",
            hint="image / 255" if array.dtype.kind == "f" and 1 < high <= 255 and low >= 0 else None,
        )
    return np.ascontiguousarray(array, np.float32)


def model_inputs(
    rgb: Any, sensors: Mapping[str, Any] | None
) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """An image and model tensors of sensors, checked.

    Args:
        rgb: see `unit_image`; None for no image. sensors: name -> (C, H, W), as `to_tensor` makes it.

    Raises:
        UsageError: neither is given, or one that is not such an array.
    """
    frames = {get_modality(name).name: _frame(name, value) for name, value in (sensors or {}).items()}
    if rgb is None and not frames:
        raise UsageError("no inputs", expected="an image, a sensor frame, or both")
    return None if rgb is None else unit_image(rgb), frames


def _frame(name: str, value: Any) -> np.ndarray:
    row = get_modality(name)
    array = as_numbers(value, name)
    if array.ndim == 2 and row.num_channels == 1:
        array = array[None]
    if array.ndim != 3 or array.shape[0] != row.num_channels:
        raise UsageError(
            f"an array of shape {array.shape}",
            where=row.name,
            expected=f"({row.num_channels}, H, W): {', '.join(row.channels)}",
            hint=f"to_tensor(recording, modality='{row.name}').frames[0]",
        )
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        what = "values that are not finite" if array.dtype.kind == "f" else f"{array.dtype} values"
        raise UsageError(
            what,
            where=row.name,
            expected=f"finite floats, of the range {row.value_range[0]:g} to {row.value_range[1]:g}",
            hint=f"to_tensor(recording, modality='{row.name}').frames[0]",
        )
    low, high = float(array.min()), float(array.max())
    # a representation may leave its range a little; raw counts, degrees or millimeters are far from it
    if row.value_range == (0.0, 1.0) and not (low >= -1 and high <= 2):
        raise UsageError(
            f"values from {low:g} to {high:g}",
            where=row.name,
            expected="a model tensor, from 0 to 1",
            hint=f"to_tensor(recording, modality='{row.name}').frames[0]",
        )
    return np.ascontiguousarray(array, np.float32)
