"""Polarized intensities -> Stokes parameters, degree and angle of linear polarization.

S0 = (I0 + I45 + I90 + I135) / 2, S1 = I0 - I90, S2 = I45 - I135; DoLP = sqrt(S1^2 + S2^2) / S0 in [0, 1];
AoLP = atan2(S2, S1) / 2 modulo pi. An angle of period pi is encoded as sin 2A = S2 / L, cos 2A = S1 / L with
L = sqrt(S1^2 + S2^2). (Collett, Polarized Light, 1993; Goldstein, Polarized Light, 3rd ed., chapter 5.)

Shape letters: A angles, H rows, W columns.
"""

from __future__ import annotations

import warnings

import numpy as np

from armseg_core.arrays import Frame, PolarizedImages, Stokes
from armseg_core.errors import ArmsegWarning, UsageError
from armseg_core.resizing import resize_image
from armseg_core.sensors.polarization.options import PolarizationOptions
from armseg_core.sensors.representation import Representation

_FOUR = (0.0, 45.0, 90.0, 135.0)
_NOTED_SHARE = 1e-4  # the least share of saturated pixels that two decimals of a percentage can say


def stokes_parameters(intensity: np.ndarray, angles_deg: tuple[float, ...]) -> np.ndarray:
    """Linear Stokes parameters (3, H, W) float32 of intensities (A, H, W) behind ideal polarizers.

    For 0, 45, 90, 135 degrees the formula above, which is also the least-squares solution; for other
    angles the least-squares solution of I(a) = (S0 + S1 cos 2a + S2 sin 2a) / 2.
    """
    if tuple(angles_deg) == _FOUR:
        i0, i45, i90, i135 = intensity
        return np.stack([(i0 + i45 + i90 + i135) / 2, i0 - i90, i45 - i135]).astype(np.float32)
    double = 2 * np.deg2rad(np.asarray(angles_deg))
    analyzer = np.stack([np.ones_like(double), np.cos(double), np.sin(double)], axis=1) / 2
    return np.tensordot(np.linalg.pinv(analyzer), intensity, axes=1).astype(np.float32)


def polarization_state(s: np.ndarray) -> np.ndarray:
    """(S0, S1, S2) -> (S0, DoLP, sin 2A, cos 2A), float32 (4, H, W); sin = cos = 0 where S1 = S2 = 0."""
    s0, s1, s2 = s
    linear = np.hypot(s1, s2)
    polarized = linear > 0
    dolp = np.divide(linear, s0, out=np.zeros_like(linear), where=s0 > 0)
    sine = np.divide(s2, linear, out=np.zeros_like(linear), where=polarized)
    cosine = np.divide(s1, linear, out=np.zeros_like(linear), where=polarized)
    return np.stack([s0, np.clip(dolp, 0, 1), sine, cosine]).astype(np.float32)


def stokes(data: PolarizedImages | Stokes, options: PolarizationOptions) -> Frame:
    """(S0, DoLP, sin 2A, cos 2A). S0 is 2 where a gray, unpolarized pixel is at full scale.

    Where a polarizer's pixel is saturated the degree of polarization is false: DoLP, sin and cos are 0
    there, and a warning says how many pixels where that is 0.01 % of them or more.
    """
    s, saturated = _stokes_image(data, options)
    frame = polarization_state(s)
    frame[1:, saturated] = 0
    if saturated.mean() >= _NOTED_SHARE:
        warnings.warn(
            ArmsegWarning(
                f"{saturated.mean():.2%} of the pixels are saturated: their degree of polarization "
                "is set to 0"
            ),
            stacklevel=2,
        )
    return Frame(frame, ("s0", "dolp", "sin2aolp", "cos2aolp"), ("intensity", "1", "1", "1"), (-1.0, 2.0))


def aolp_dolp(data: PolarizedImages | Stokes, options: PolarizationOptions) -> Frame:
    """(AoLP in [0, pi), DoLP, valid): valid is 0 where the pixel is saturated or not polarized at all."""
    s, saturated = _stokes_image(data, options)
    _, dolp, sine, cosine = polarization_state(s)
    aolp = np.mod(np.arctan2(sine, cosine) / 2, np.float32(np.pi))
    aolp[aolp >= np.float32(np.pi)] = 0  # rounding of a tiny negative angle
    valid = ~saturated & ((sine != 0) | (cosine != 0))
    frame = (np.stack([aolp, dolp, np.ones_like(dolp)]) * valid).astype(np.float32)
    return Frame(frame, ("aolp", "dolp", "valid"), ("rad", "1", "1"), (0.0, float(np.pi)))


def angles(data: PolarizedImages | Stokes, options: PolarizationOptions) -> Frame:
    """Intensity behind each polarizer, colors averaged; of Stokes input behind ideal 0, 45, 90, 135."""
    if isinstance(data, Stokes):
        degrees: tuple[float, ...] = _FOUR
        s0, s1, s2 = data.s
        frame = np.stack([s0 + s1, s0 + s2, s0 - s1, s0 - s2]) / 2
    else:
        frame, degrees = _gray(data.intensity), data.angles_deg
    frame = resize_image(_cropped(frame.astype(np.float32), options), options.size)
    names = tuple(f"i{a:g}" for a in degrees)
    return Frame(frame, names, ("fraction of full scale",) * len(frame), (0.0, 1.0))


def _gray(intensity: np.ndarray) -> np.ndarray:
    return intensity if intensity.ndim == 3 else intensity.mean(axis=-1, dtype=np.float32)


def _stokes_image(
    data: PolarizedImages | Stokes, options: PolarizationOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Stokes parameters and saturation mask, cropped and then at `options.size`.

    Only Stokes parameters are resized: a degree or an angle has no meaningful average.
    """
    s = data.s if isinstance(data, Stokes) else stokes_parameters(_gray(data.intensity), data.angles_deg)
    s, saturated = _cropped(s.astype(np.float32, copy=False), options), _cropped(data.saturated, options)
    resized = resize_image(s, options.size)
    if resized is s:
        return s, saturated
    mask = resize_image(saturated[None].astype(np.float32), options.size)[0] > 0
    return resized, mask


def _cropped(planes: np.ndarray, options: PolarizationOptions) -> np.ndarray:
    """(..., H, W) without the left `options.crop_left` columns."""
    columns = planes.shape[-1]
    if options.crop_left >= columns:
        raise UsageError(
            f"cuts off {options.crop_left} columns",
            where="--crop-left",
            expected=f"less than the {columns} columns of the picture",
        )
    return planes[..., options.crop_left :]


POLARIZATION_REPRESENTATIONS: tuple[Representation, ...] = (
    Representation(
        "stokes",
        "polarization",
        "S0, DoLP, sin 2AoLP, cos 2AoLP",
        "Collett, Polarized Light, 1993",
        stokes,
    ),
    Representation(
        "aolp_dolp", "polarization", "AoLP, DoLP and validity", "Collett, Polarized Light, 1993", aolp_dolp
    ),
    Representation(
        "angles", "polarization", "intensity behind each polarizer", "as recorded, demosaiced", angles
    ),
)
