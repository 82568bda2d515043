"""Which files the code of a test opens."""

from __future__ import annotations

import builtins
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest


def count_opens(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """File name -> how often this process has opened a file of that name since."""
    counts: Counter[str] = Counter()

    def opening(real: Any) -> Any:
        def open_(file: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(file, str | Path):
                counts[Path(file).name] += 1
            return real(file, *args, **kwargs)

        return open_

    for module in (io, builtins):  # pathlib uses the one, everybody else the other
        monkeypatch.setattr(module, "open", opening(module.open))
    return counts
