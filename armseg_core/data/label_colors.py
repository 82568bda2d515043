"""Colors of painted labels that no class has: which, how many pixels, and what most likely happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from armseg_core.data.sample import ClassInfo
from armseg_core.files.pictures import label_colors, picture_name

SHOWN = 3  # colors named in a message; the largest say what is wrong
# away from a class color, of 442 at most: a typing error or another rounding, not another color
A_LITTLE = 8.0
# A forgotten class is one color; what a lossy step leaves is many, nearly all of them mixtures of two class
# colors. JPEG errs by about as much as MIXED at its usual qualities.
MANY, MIXED, MOSTLY = 4, 32.0, 0.8
NEARLY_ALL = 0.99  # of the pixels gray and of no class: masks of numbers, with strays at most in color
COMPARED = 256  # the most frequent colors say what happened; all of them would take K * K * 65,536 distances
PNG_ADVICE = "save the labels as PNG, without scaling or smoothing"

Color = tuple[int, int, int]


@dataclass
class UnknownColors:
    """Pixels of painted labels whose color no class has.

    counts: color -> pixels. pixels: of the labels they were counted in. jpeg: some of the pictures is a JPEG.
    """

    counts: Counter[Color] = field(default_factory=Counter)
    pixels: int = 0
    jpeg: bool = False

    def add(self, path: Path, known: np.ndarray) -> None:
        """Count the colors of a picture that are not among `known`, (N, 3) uint8."""
        listed = {tuple(color) for color in known.tolist()}
        colors, counts = label_colors(path)
        found = {tuple(color): n for color, n in zip(colors.tolist(), counts.tolist(), strict=True)}
        self.counts.update({color: n for color, n in found.items() if color not in listed})
        self.jpeg |= picture_name(path) == "JPEG"

    def describe(self, classes: Sequence[ClassInfo]) -> str:
        """'25.00 % of the pixels have a color that no class has: [70, 130, 180] 25.00 % (...)'."""
        unknown = sum(self.counts.values())
        shown = []
        for color, count in self.counts.most_common(SHOWN):
            near, away = nearest(color, classes)
            share = f"{100 * count / self.pixels:.2f} %"
            shown.append(f"{list(color)} {share} (nearest: {near.name} {list(near.color)}, {away:.0f} away)")
        more = f" and {len(self.counts) - SHOWN:,} more colors" if len(self.counts) > SHOWN else ""
        text = f"{100 * unknown / self.pixels:.2f} % of the pixels have a color that no class has: "
        text += ", ".join(shown) + more
        if self.is_lossy(classes):
            text += "; the picture was saved with loss or smoothed"
        return text

    def advice(self, classes: Sequence[ClassInfo]) -> str:
        """What to do about them."""
        if self.is_lossy(classes):
            return PNG_ADVICE
        gray = all(r == g == b for r, g, b in self.counts)
        if gray and sum(self.counts.values()) >= NEARLY_ALL * self.pixels:
            return 'remove encoding = "color" under [label] in dataset.toml: the labels are gray masks'
        color = self.counts.most_common(1)[0][0]
        near, away = nearest(color, classes)
        if away <= A_LITTLE:
            return f"color = {list(color)} for class '{near.name}' in dataset.toml"
        return (
            f"ignore_colors = [{list(color)}] under [label] in dataset.toml, "
            f"or list the class with color = {list(color)}"
        )

    def is_lossy(self, classes: Sequence[ClassInfo]) -> bool:
        """Whether the colors are what JPEG or smoothing makes of the class colors."""
        if len(self.counts) < MANY:
            return False
        if self.jpeg:
            return True
        top = self.counts.most_common(COMPARED)
        counts = np.array([count for _, count in top])
        away = _to_mixtures(
            np.array([color for color, _ in top], np.float64),
            np.array([info.color for info in classes], np.float64),
        )
        return bool(counts[away <= MIXED].sum() >= MOSTLY * counts.sum())


def nearest(color: Color, classes: Sequence[ClassInfo]) -> tuple[ClassInfo, float]:
    """The class whose color is the nearest, and how far it is away (Euclidean, 0 to 442)."""
    palette = np.array([info.color for info in classes], np.float64)
    away = np.linalg.norm(palette - np.array(color), axis=1)
    index = int(away.argmin())
    return classes[index], float(away[index])


def _to_mixtures(colors: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """(N,) distance of each color (N, 3) to the nearest straight line between two colors of (K, 3)."""
    best = np.full(len(colors), np.inf)
    for start in palette:
        along = palette - start  # (K, 3)
        offset = colors[:, None] - start  # (N, 1, 3)
        length = np.maximum((along**2).sum(1), 1e-9)
        part = np.clip((offset * along).sum(2) / length, 0, 1)  # (N, K)
        away = np.linalg.norm(offset - part[..., None] * along, axis=2)
        best = np.minimum(best, away.min(1))
    return best
