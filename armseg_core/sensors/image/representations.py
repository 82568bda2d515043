"""Bands -> channels from 0 to 1, by a fixed range, by percentiles of each picture, or by the file's type.

A fixed range keeps the meaning of a value over all pictures; percentiles show structure, but equal numbers in
two pictures need not mean equal values.

Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from armseg_core.arrays import Bands, Frame
from armseg_core.errors import FormatError
from armseg_core.resizing import resize_image
from armseg_core.sensors.image.declaration import KIND, VALID, check_counts
from armseg_core.sensors.image.options import ImageOptions
from armseg_core.sensors.representation import Representation

# without a range: a few outliers must not squeeze the rest, and more would cut off small bright things
_PERCENTILES = (1.0, 99.0)


def image(bands: Bands, options: ImageOptions, names: tuple[str, ...] = (), validity: bool = False) -> Frame:
    """Every channel scaled to [0, 1] and clipped; 0 where there is no value.

    Args:
        names: of the channels; () numbers them as the file does. validity: add a channel, 1 where every band
            has a value.

    Raises:
        UsageError: a range that does not fit the channels. FormatError: nothing is left by `crop_left`.
    """
    count, _, columns = bands.values.shape
    check_counts(options, count, "the picture")
    if options.crop_left >= columns:
        raise FormatError(f"crop_left cuts off {options.crop_left} columns", expected=f"fewer than {columns}")
    values, valid = bands.values[..., options.crop_left :], bands.valid[..., options.crop_left :]
    planes = np.stack(
        [
            _scaled(plane, good, *limits(plane[good], options, i, bands.full_scale))
            for i, (plane, good) in enumerate(zip(values, valid, strict=True))
        ]
    )
    channels = names or tuple(f"band_{band}" for band in options.bands or range(1, count + 1))
    units = ("fraction of range",) * count
    if validity:
        planes = np.concatenate([planes, valid.all(axis=0, keepdims=True)]).astype(np.float32)
        channels, units = (*channels, VALID), (*units, "1")
        if options.size is not None:
            planes = resize_valid(planes, options.size)
    return Frame(resize_image(planes, options.size), channels, units, (0.0, 1.0))


def limits(
    values: np.ndarray, options: ImageOptions, channel: int, full_scale: float | None
) -> tuple[float, float]:
    """The stored values of a channel that become 0 and 1. values: those that count, (N,)."""
    if options.range is not None:
        at = 2 * channel if len(options.range) > 2 else 0
        return options.range[at], options.range[at + 1]
    if options.percentiles is None and full_scale is not None:
        return 0.0, full_scale
    if not values.size:
        return 0.0, 1.0
    low, high = (
        float(x) for x in np.percentile(values.astype(np.float64), options.percentiles or _PERCENTILES)
    )
    return (low, high) if low < high else (float(values.min()), float(values.max()))


def _scaled(plane: np.ndarray, valid: np.ndarray, low: float, high: float) -> np.ndarray:
    if low >= high:  # a constant picture by percentiles
        return np.zeros(plane.shape, np.float32)
    known = np.where(valid, plane, low).astype(np.float64)
    scaled: np.ndarray = np.clip((known - low) / (high - low), 0, 1).astype(np.float32)
    return scaled


def resize_valid(tensor: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(C, H, W) whose last channel is validity -> (C, *size): averages over the pixels that have a value.

    A pixel has one where half of what it covers has.
    """
    weight = tensor[-1:]
    spread = resize_image(weight, size)
    total = resize_image(tensor[:-1] * weight, size)
    known = spread >= 0.5
    values = np.where(known, total / np.maximum(spread, np.float32(0.5)), 0)
    return np.concatenate([values, known]).astype(np.float32)


def representation(sensor: str, names: tuple[str, ...] = (), validity: bool = False) -> Representation:
    """The one representation of a declared sensor. Arguments as in `image`."""
    return Representation(
        KIND,
        sensor,
        "each channel scaled to [0, 1]",
        "as stored",
        partial(image, names=names, validity=validity),
    )
