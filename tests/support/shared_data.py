"""Real recordings and failing inputs that lie beside the checkout, in `shared/`: never part of the project.

Tests over them skip where the folder is absent.
"""

from __future__ import annotations

from pathlib import Path

import pytest


def _find() -> Path | None:
    for folder in Path(__file__).resolve().parents:
        if (folder / "shared" / "data").is_dir():
            return folder / "shared"
    return None


SHARED = _find()


def shared(*parts: str) -> Path:
    """A path below `shared/`, e.g. shared("data", "thermal", "x.tiff"); the test skips where it is absent."""
    path = None if SHARED is None else SHARED.joinpath(*parts)
    if path is None or not path.exists():
        pytest.skip(f"shared/{'/'.join(parts)} is not here")
    return path
