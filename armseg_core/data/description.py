"""What a data set is, known before one of its splits is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from armseg_core.data.sample import ClassInfo

if TYPE_CHECKING:
    from armseg_core.data.dataset import DataSet


@dataclass(frozen=True)
class Description:
    """What a folder says about itself, read once; every split is opened from it.

    kind: the class that reads the folder. modalities: sensors the data set has. splits: names of its splits,
    none of them read yet. A kind that knows more about its folder derives a class of its own.
    """

    kind: type[DataSet]
    root: Path
    name: str
    classes: tuple[ClassInfo, ...]
    ignore_index: int
    modalities: tuple[str, ...]
    splits: tuple[str, ...]
