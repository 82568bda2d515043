"""JSON Lines: one object per line, appended as it comes; a line that a killed run left torn is dropped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from armseg_core.files.atomic import append_whole, atomic_path
from armseg_core.files.json_text import to_json

Row = dict[str, Any]


def read_rows(path: str | os.PathLike[str]) -> list[Row]:
    """The objects of a file in order, torn lines and what is no object left out; [] when there is no file."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    rows: list[Row] = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # torn by a crash
        if isinstance(row, dict):
            rows.append(row)
    return rows


def write_rows(path: str | os.PathLike[str], rows: Iterable[Row], **options: Any) -> None:
    """Replace a file by these rows; it is never seen half written.

    Args:
        options: of `json.dumps`.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text("".join(to_json(row, **options) + "\n" for row in rows), encoding="utf-8")


def append_row(path: str | os.PathLike[str], row: Row, **options: Any) -> None:
    """Add a row to the end of a file, all of it or nothing, and hand it to the operating system at once.

    Args:
        options: of `json.dumps`.

    Raises:
        OutputError: it cannot be written.
    """
    append_whole(path, to_json(row, **options) + "\n")
