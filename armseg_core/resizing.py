"""Resizing pictures, labels and model tensors: the one rule, of conversion, augmentation and drawing.

Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

import numpy as np


class Channeled(Protocol):
    """What is asked of a sensor: channels of its model tensor, those never mixed, its own rule if any."""

    @property
    def channels(self) -> tuple[str, ...]: ...

    @property
    def nearest(self) -> Collection[str]: ...

    @property
    def resize(self) -> Callable[[np.ndarray, tuple[int, int]], np.ndarray] | None: ...


def resize_picture(picture: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """(H, W) or (H, W, C) -> (*size, ...): averaged over the covered area when shrinking, else bilinear."""
    import cv2

    if size is None or picture.shape[:2] == tuple(size):
        return picture
    h, w = size
    shrinks = h <= picture.shape[0] and w <= picture.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(picture), (w, h), interpolation=how)


def resize_image(planes: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """(C, H, W) float32 -> (C, *size), each plane as `resize_picture` does it."""
    if size is None or planes.shape[1:] == tuple(size):
        return planes
    return np.stack([resize_picture(plane, size) for plane in planes])


def resize_nearest(array: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """(..., H, W) of any dtype -> (..., *size): the pixel under each new pixel's center."""
    if size is None or array.shape[-2:] == tuple(size):
        return array
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for new, old in zip(size, array.shape[-2:], strict=True)
    )
    return array[..., rows[:, None], columns]


def resize_model_tensor(tensor: np.ndarray, modality: Channeled, size: tuple[int, int] | None) -> np.ndarray:
    """A model tensor (C, H, W) float32 -> (C, *size); the same array when nothing changes.

    Channels in `modality.nearest` take the nearest pixel, so that no invalid depth is mixed with a valid one;
    the others are resized as images. A modality with a rule of its own is resized by `Modality.resize`.
    """
    if size is None or tensor.shape[1:] == tuple(size):
        return tensor
    if modality.resize is not None:
        return modality.resize(tensor, size)
    nearest = np.array([name in modality.nearest for name in modality.channels])
    out = np.empty((len(tensor), *size), np.float32)
    out[nearest] = resize_nearest(tensor[nearest], size)
    if not nearest.all():
        out[~nearest] = resize_image(tensor[~nearest], size)
    return out
