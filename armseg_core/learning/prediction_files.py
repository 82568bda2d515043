"""The files of a prediction: mask, colored mask and overlay, and the names that keep them apart."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from armseg_core.files.ownership import check_free, is_sealed, note_of
from armseg_core.files.pictures import save_indexed_png, save_png
from armseg_core.learning.prediction import Prediction
from armseg_core.visualization import label_to_color, overlay, with_legend


def prediction_paths(folder: Path, stem: str) -> dict[str, Path]:
    """The files of a prediction, by what they show."""
    return {kind: folder / f"{stem}.{kind}.png" for kind in ("mask", "color", "overlay")}


def prediction_stem(folder: Path, image: Path) -> str:
    """The stem of the files of an image's prediction.

    Its own, unless `folder` holds those of another image of that name; then with as many folders of its path
    before it as tell them apart (`scene_1_rgb`).
    """
    *parents, _ = image.resolve().parts[1:]
    stem = image.stem
    for parent in (*reversed(parents), ""):
        files = [path for path in prediction_paths(folder, stem).values() if is_sealed(path)]
        if not parent or all(note_of(path) == image_note(image) for path in files):
            break
        stem = f"{parent}_{stem}"
    return stem


def image_note(image: Path) -> str:
    """What tells the predictions of one image from those of another one: a hash of its path."""
    return hashlib.sha256(os.fsencode(image.resolve())).hexdigest()[:16]


def save_prediction(
    prediction: Prediction, folder: Path, stem: str, *, image: Path | None = None, force: bool = False
) -> dict[str, Path]:
    """Write `<stem>.mask.png` (indexed, with palette), `<stem>.color.png` and `<stem>.overlay.png` (legend).

    Args:
        image: what was predicted, for `prediction_stem`.
        force: replace files in the way that armseg did not make or that were changed since.

    Raises:
        OutputError: the folder cannot be written, or such a file is in the way.
    """
    paths = prediction_paths(folder, stem)
    check_free(paths.values(), force=force)
    note = "" if image is None else image_note(image)
    palette = prediction.dataset.palette
    save_indexed_png(paths["mask"], prediction.mask, palette, note)
    save_png(paths["color"], label_to_color(prediction.mask, palette), note)
    names = prediction.dataset.class_names
    shown = [names.index(n) for n in prediction.shares]
    picture = with_legend(
        overlay(prediction.rgb, prediction.mask, palette),
        [names[i] for i in shown],
        [palette[i] for i in shown],
        list(prediction.shares.values()),
    )
    save_png(paths["overlay"], picture, note)
    return paths
