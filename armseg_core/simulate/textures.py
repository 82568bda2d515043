"""Procedural textures: a fixed library of periodic 512 x 512 patterns in [0, 1], each at several blur levels.

A renderer picks the blur level whose width matches the pixel's footprint, then reads the nearest texel. The
blurred copies keep the full resolution, so sub-pixel motion moves the pattern smoothly (light-field
disparity and events depend on that).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SIZE = 512  # texels per side: 2 ** 9, since `sample` indexes with shifts
LEVELS = 7  # copies, each blurred twice as wide as the one before: the last is nearly plain
NAMES = ("noise", "brick", "asphalt", "foliage", "stripes", "plates", "plaid", "dirt")
LAYER = {name: i for i, name in enumerate(NAMES)}


def _spectral_noise(rng: np.random.Generator, low: float, high: float, slope: float) -> np.ndarray:
    """Periodic noise, (SIZE, SIZE), zero mean and unit deviation.

    Its wavelengths are SIZE/high .. SIZE/low texels.
    """
    r = SIZE * np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :])
    gain = np.where((r >= low) & (r <= high), np.maximum(r, 1.0) ** slope, 0.0)
    a = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIZE, SIZE), np.float32)) * gain.astype(np.float32))
    noise: np.ndarray = (a - a.mean()) / a.std()
    return noise


def _blocks(rng: np.random.Generator, rows: int, columns: int, stagger: bool, gap: int) -> np.ndarray:
    """A wall of randomly toned blocks with dark joints, (SIZE, SIZE)."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    h, w = SIZE // rows, SIZE // columns
    row = y // h
    xs = (x + (row % 2) * (w // 2 if stagger else 0)) % SIZE
    tone = rng.standard_normal((rows, columns))[row % rows, (xs // w) % columns]
    return np.where((y % h < gap) | (xs % w < gap), -2.2, tone)


def _bands(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random tones of `count` bands over SIZE texels, (SIZE,)."""
    return np.repeat(rng.standard_normal(count), SIZE // count)


@lru_cache(maxsize=1)
def library() -> np.ndarray:
    """All textures, made once per process.

    (len(NAMES) * LEVELS * SIZE * SIZE,) float32 in [0, 1], mean about 0.5.
    """
    rng = np.random.default_rng(20240229)
    stripes = np.broadcast_to(_bands(rng, 32)[:, None], (SIZE, SIZE)) + 0.3 * _spectral_noise(rng, 4, 60, -1)
    plaid = _bands(rng, 32)[:, None] + _bands(rng, 32)[None, :] + 0.3 * _spectral_noise(rng, 4, 60, -1)
    patterns = {
        "noise": _spectral_noise(rng, 1, 80, -1.2),
        "brick": _blocks(rng, 32, 16, True, 2) + 0.5 * _spectral_noise(rng, 2, 60, -1.0),
        "asphalt": _spectral_noise(rng, 1, 200, -0.7) + 0.6 * _spectral_noise(rng, 1, 8, -1.0),
        "foliage": _spectral_noise(rng, 6, 100, -0.6),
        "stripes": stripes,
        "plates": _blocks(rng, 8, 8, False, 3) + 0.4 * _spectral_noise(rng, 2, 60, -1.0),
        "plaid": plaid,
        "dirt": _spectral_noise(rng, 3, 60, -0.8),
    }
    f = np.fft.fftfreq(SIZE)
    r2 = (f[:, None] ** 2 + np.fft.rfftfreq(SIZE)[None, :] ** 2).astype(np.float32)
    out = np.empty((len(NAMES), LEVELS, SIZE, SIZE), np.float32)
    for i, name in enumerate(NAMES):
        a = patterns[name]
        spectrum = np.fft.rfft2(((a - a.mean()) / a.std()).astype(np.float32))
        for level in range(LEVELS):
            sigma = 0.45 * 2.0**level  # texels
            out[i, level] = np.fft.irfft2(spectrum * np.exp(np.float32(-2 * (np.pi * sigma) ** 2) * r2))
    values: np.ndarray = np.clip(0.5 + 0.22 * out, 0.0, 1.0)
    return values.reshape(-1)


def sample(texture: int, s: np.ndarray, t: np.ndarray, footprint: np.ndarray | float) -> np.ndarray:
    """Texture values.

    texture: row of NAMES. s, t: (n,) texel coordinates (they wrap around). footprint: width of a pixel in
    texels, (n,) or one number. Returns (n,) float32 in [0, 1].
    """
    level = np.frexp(np.float32(1.1) * footprint)[1]  # = floor(log2) + 1
    index = np.minimum(np.maximum(level, 0), LEVELS - 1)
    index = (index + texture * LEVELS) << 18
    column = s.astype(np.int32)
    column &= SIZE - 1
    row = t.astype(np.int32)
    row &= SIZE - 1
    row <<= 9
    row += column
    row += index
    return library().take(row)
