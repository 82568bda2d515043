"""Polarized light and ideal polarizers for the polarization tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from armseg_core.sensors.polarization.options import PolarizationOptions
from armseg_core.sensors.recognition import sniff

OPTIONS = PolarizationOptions(pattern="90,45,135,0")
QUIET = PolarizationOptions(pattern="90,45,135,0", bits=12)
ANGLES = (0, 45, 90, 135)


CELL = "90,45,135,0"  # of the mosaics that tests write; given, it is no assumption


def read(path: Path, *, pattern: str | None = CELL, **options):
    """Read a polarization recording; `pattern` None leaves the cell of a mosaic to be assumed."""
    given = options if pattern is None else {"pattern": pattern, **options}
    return sniff(path, "polarization").read(path, PolarizationOptions(**given))


def polarizer(angle_deg: float) -> np.ndarray:
    """Mueller matrix of an ideal linear polarizer (Goldstein, eq. 5-18), linear part and S3."""
    c, s = np.cos(2 * np.radians(angle_deg)), np.sin(2 * np.radians(angle_deg))
    return 0.5 * np.array([[1, c, s, 0], [c, c * c, c * s, 0], [s, c * s, s * s, 0], [0, 0, 0, 0]])


def behind(stokes: np.ndarray, angle_deg: float) -> np.ndarray:
    """Intensity of light (4, H, W) behind a polarizer: the first component of M S."""
    return np.tensordot(polarizer(angle_deg), stokes, axes=1)[0]


def light(h: int = 8, w: int = 12, seed: int = 0) -> np.ndarray:
    """Smooth partly polarized light (4, H, W), intensity below full scale."""
    rng = np.random.default_rng(seed)
    s0 = rng.uniform(0.4, 0.9, (h, w))
    dolp, angle = rng.uniform(0, 0.9, (h, w)), rng.uniform(0, np.pi, (h, w))
    return np.stack([s0, s0 * dolp * np.cos(2 * angle), s0 * dolp * np.sin(2 * angle), 0.05 * s0])
