"""What every refused command line must look like."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def files_below(folder: Path) -> dict[str, int]:
    """Every file and folder with its time of change."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns if p.is_file() else 0 for p in folder.rglob("*")}


def assert_refused(result: Any, *words: str, code: int = 2) -> None:
    """One line on stderr (after notes and warnings) that holds the words, nothing on stdout, the exit
    code."""
    assert result.exit_code == code, f"{result.output}{result.exception!r}"
    assert result.stdout == ""
    lines = [x for x in result.stderr.splitlines() if not x.startswith(("note:", "warning:"))]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "internal error" not in lines[0]
    for word in words:
        assert word in lines[0], lines[0]
