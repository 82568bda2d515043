"""Resizing images, labels and model tensors: the one rule, used by conversion and by augmentation.

Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

import numpy as np

from armseg_core.sensors.modality import Modality


def resize_image(planes: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """(C, H, W) float32 -> (C, *size): averaged over the covered area when shrinking, else bilinear."""
    import cv2

    if size is None or planes.shape[1:] == tuple(size):
        return planes
    h, w = size
    shrinks = h <= planes.shape[1] and w <= planes.shape[2]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.stack([cv2.resize(np.ascontiguousarray(plane), (w, h), interpolation=how) for plane in planes])


def resize_nearest(array: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """(..., H, W) of any dtype -> (..., *size): the pixel under each new pixel's center."""
    if size is None or array.shape[-2:] == tuple(size):
        return array
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for new, old in zip(size, array.shape[-2:], strict=True)
    )
    return array[..., rows[:, None], columns]


def resize_model_tensor(tensor: np.ndarray, modality: Modality, size: tuple[int, int] | None) -> np.ndarray:
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
