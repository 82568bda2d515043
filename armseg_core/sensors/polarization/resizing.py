"""Resizing of the polarization model tensor: as Stokes parameters.

Shape letters: H rows, W columns.
"""

from __future__ import annotations

import numpy as np

from armseg_core.resizing import resize_image


def resize(tensor: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(s0, dolp, sin 2A, cos 2A) (4, H, W) float32 -> (4, *size).

    A degree or an angle of polarization has no meaningful average; intensities have.
    """
    return stokes_to_model(resize_image(model_to_stokes(tensor), size))


def model_to_stokes(tensor: np.ndarray) -> np.ndarray:
    """(s0, dolp, sin 2A, cos 2A) -> (S0, S1, S2): S1 = S0 DoLP cos 2A, S2 = S0 DoLP sin 2A."""
    s0, dolp, sine, cosine = tensor
    return np.stack([s0, s0 * dolp * cosine, s0 * dolp * sine])


def stokes_to_model(stokes: np.ndarray) -> np.ndarray:
    """(S0, S1, S2) -> (s0, dolp, sin 2A, cos 2A); where there is no polarization the angle is (0, 0)."""
    s0, s1, s2 = stokes
    linear = np.hypot(s1, s2)
    safe = np.where(linear > 0, linear, 1)
    dolp = np.clip(np.divide(linear, s0, out=np.zeros_like(linear), where=s0 > 0), 0, 1)
    return np.stack([s0, dolp, s2 / safe, s1 / safe]).astype(np.float32, copy=False)
