"""Where the checkout is, from wherever a test lies."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE_DATA = REPOSITORY / "sample_data"
