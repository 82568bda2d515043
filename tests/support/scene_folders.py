"""Folders of recordings before a conversion and of tensor files after it."""

from __future__ import annotations

from pathlib import Path

import raw_files

from armseg_core.files.tensor_file import TensorFile


def scenes(root: Path, count: int) -> Path:
    """`count` scenes with a depth picture each, in two levels of folders."""
    for i in range(count):
        raw_files.depth(root / f"part{i % 2}" / f"scene_{i:05d}" / "depth.png", seed=i)
    return root


def outputs(folder: Path) -> dict[str, bytes]:
    """The frames of every tensor file below a folder; each must be whole."""
    found = {}
    for path in sorted(folder.rglob("*.h5")):
        with TensorFile(path) as file:
            found[str(path.relative_to(folder))] = file.frames[:].tobytes()
    return found


def names(folder: Path) -> set[str]:
    """Every file below a folder, by its relative path."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
