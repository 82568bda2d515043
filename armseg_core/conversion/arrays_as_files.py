"""Arrays and PIL images where a file is asked for: they are read by the formats that read their files.

So an array means what it means in a .npy file, and a PIL image what it means as a PNG.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.errors import UsageError
from armseg_core.files.npy import write_npy


def is_path(value: object) -> bool:
    """Whether a value is a path, and not data in memory."""
    return isinstance(value, str | os.PathLike)


@contextlib.contextmanager
def as_file(value: Any) -> Iterator[Path]:
    """The path of a recording; of an array or PIL image that of a temporary file with it.

    Args:
        value: path, array of numbers, or PIL image.

    Raises:
        UsageError: something else.
    """
    if is_path(value):
        yield Path(value)
        return
    with tempfile.TemporaryDirectory(prefix="armseg-") as folder:
        if hasattr(value, "save") and hasattr(value, "getbands"):  # a PIL image, without importing PIL
            path = Path(folder) / "image.png"
            try:
                value.save(path, exif=value.getexif())
            except OSError as error:
                raise UsageError(f"a PIL image of the mode {value.mode}", expected="a mode of PNG") from error
        else:
            path = Path(folder) / "array.npy"
            write_npy(path, as_numbers(value))
        yield path


def as_numbers(value: Any, where: str | None = None) -> np.ndarray:
    """An array, tensor or list as an array of numbers.

    Raises:
        UsageError: it holds none.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"a {type(value).__name__}", where=where, expected="an array of numbers") from error
    if array.dtype.kind not in "buif" or not array.size or not array.ndim:
        what = f"a {type(value).__name__}" if array.dtype.kind not in "buif" else f"an array {array.shape}"
        raise UsageError(what, where=where, expected="a path, an array of numbers or a PIL image")
    return array
