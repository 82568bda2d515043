"""Frames of events as pictures and panels: red brighter, blue darker, white none."""

from __future__ import annotations

import re

import numpy as np

from armseg_core.files.tensor_file import TensorInfo
from armseg_core.visualization.canvas import Panel
from armseg_core.visualization.colors import NEGATIVE, POSITIVE
from armseg_core.visualization.panels import MAX_CHANNELS, mapped, pictures, unit_text

_MODEL_TENSOR = tuple(f"bin{i}" for i in range(5))
# Share of pixels below which single events cannot be seen in a large frame, and the width that is large: in a
# picture scaled down to a panel they fade. Free choices.
_SPARSE, _LARGE = 0.02, 240
_SUMS = ("voxel_grid", "histogram", "stacked_histogram")  # beginnings of the names of sums of events


def panels(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Of sums of events (their sum and each bin, or each polarity), and of everything else by channel."""
    frame = np.nan_to_num(frame.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    found = pictures(frame, info.channels, info.value_range)
    if found:
        return found
    polarities = {polarity_of(name) for name in info.channels}
    is_sum = info.representation.startswith(_SUMS)
    is_one_frame = (info.representation, len(frame)) == ("event_frame", 1)
    if is_one_frame or (is_sum and polarities == {0}) or info.channels == _MODEL_TENSOR:
        return voxel_grid(frame, info)
    if is_sum and polarities == {-1, 1} and frame.min() >= 0:  # not normalized
        return counts(frame, info)
    return channels(frame, info)


def picture(frame: np.ndarray) -> np.ndarray:
    """The model tensor (C, H, W) as RGB."""
    return render_signed(np.nan_to_num(frame, posinf=0.0, neginf=0.0).sum(0, dtype=np.float64))


def signed(values: np.ndarray, caption: str, unit: str, limit: float | None = None) -> Panel:
    """Signed event mass: red, white, blue, with a bar."""
    limit = limit or event_limit(values)
    shown, note = grown(values)
    return Panel(render_signed(shown, limit), caption, ("events", -limit, limit, unit, False), note=note)


def grown(values: np.ndarray) -> tuple[np.ndarray, str]:
    """Sparse values (H, W), each drawn 3x3 so that it can be seen, and a word of that; others as they are.

    Where several reach a pixel the strongest wins; a pixel that has a value keeps it.
    """
    share = np.count_nonzero(values) / max(1, values.size)
    if not 0 < share < _SPARSE or values.shape[1] < _LARGE:
        return values, ""
    (h, w), padded = values.shape, np.pad(values, 1)
    high, low = np.zeros_like(values), np.zeros_like(values)
    for y, x in np.ndindex(3, 3):
        high = np.maximum(high, padded[y : y + h, x : x + w])
        low = np.minimum(low, padded[y : y + h, x : x + w])
    return np.where(values != 0, values, np.where(high >= -low, high, low)), "drawn 3x3"


def voxel_grid(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Signed event channels: their sum, then each bin."""
    unit, bins = unit_text(info.units), len(frame)
    caption = f"sum of {bins} bins" if bins > 1 else info.channels[0]
    drawn = [signed(frame.sum(0), f"{caption}: red brighter, blue darker", unit)]
    if 1 < bins <= 11:  # with the sum at most twelve panels, three rows of four
        limit = event_limit(frame)
        drawn += [signed(*each, unit, limit) for each in zip(frame, info.channels, strict=True)]
    return drawn


def polarity_of(name: str) -> int:
    """+1, -1 or 0 from a channel name such as 'pos0', 'neg', 'count_pos'."""
    if re.search(r"pos|brighter|\bon\b", name.lower()):
        return 1
    return -1 if re.search(r"neg|darker|\boff\b", name.lower()) else 0


def counts(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Counts of each polarity: darker against brighter summed over time, then each channel."""
    polarity = np.array([polarity_of(name) for name in info.channels])
    negative, positive = frame[polarity < 0].sum(0), frame[polarity > 0].sum(0)
    (negative, _), (positive, note) = grown(negative), grown(positive)
    merged = Panel(
        render_polarities(negative, positive), "red brighter, blue darker, dark both (log scale)", note=note
    )
    return [merged, *channels(frame, info)]


def channels(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Each channel with its own color bar; those that can be negative are red and blue."""
    return [
        signed(plane, name, unit_text(info.units, i))
        if info.value_range[0] < 0 or plane.min() < 0
        else mapped(grown(plane)[0], "magma", unit_text(info.units, i), name)
        for i, (plane, name) in enumerate(zip(frame[:MAX_CHANNELS], info.channels, strict=False))
    ]


def event_limit(signed: np.ndarray) -> float:
    """Magnitude drawn in full color: the 98th percentile of the non-zero ones, 1 when there is none.

    A free choice: hot pixels would leave nothing else visible with 100.
    """
    magnitude = np.abs(signed[np.isfinite(signed) & (signed != 0)])
    return float(np.percentile(magnitude, 98)) if magnitude.size else 1.0


def render_signed(signed: np.ndarray, limit: float | None = None) -> np.ndarray:
    """(H, W) signed event mass -> (H, W, 3): positive red, negative blue, none white.

    The color of a weak value starts at a quarter of full strength so that single events can be seen.
    """
    signed = np.nan_to_num(np.asarray(signed, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    strength = np.abs(signed) / (limit or event_limit(signed))
    strength = np.where(signed == 0, 0.0, 0.25 + 0.75 * np.clip(strength, 0, 1))[..., None]
    full = np.where(signed[..., None] > 0, np.asarray(POSITIVE, np.float64), np.asarray(NEGATIVE, np.float64))
    levels: np.ndarray = np.rint(255 + (full - 255) * strength)
    return levels.astype(np.uint8)


def render_polarities(negative: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """(H, W) counts of darker and brighter events -> (H, W, 3), counts drawn logarithmically.

    Red where only brighter, blue where only darker, dark where both, white where none.
    """
    strength = []
    for counts in (negative, positive):
        mass = np.log1p(np.clip(np.nan_to_num(np.asarray(counts, np.float64), posinf=0.0), 0, None))
        strength.append(np.where(mass > 0, 0.25 + 0.75 * np.clip(mass / event_limit(mass), 0, 1), 0.0))
    minus, plus = (s[..., None] for s in strength)
    ink = plus * (255 - np.asarray(POSITIVE, np.float64)) + minus * (255 - np.asarray(NEGATIVE, np.float64))
    return np.rint(np.clip(255 - ink, 0, 255)).astype(np.uint8)
