"""What a data set is, known before one of its splits is opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armseg_core.data.sample import ClassInfo
from armseg_core.sensors.modalities import Declaration, declare

if TYPE_CHECKING:
    from armseg_core.data.dataset import DataSet


@dataclass(frozen=True)
class Description:
    """What a folder says about itself, read once; every split is opened from it.

    kind: the class that reads the folder. modalities: sensors the data set has. splits: names of its splits,
    none of them read yet. declared: those of the sensors that armseg has no name for; a description makes
    them known to the process it is in, also where it was sent to a worker. A kind that knows more about its
    folder derives a class of its own.

    Raises:
        UsageError: a declared sensor has the name of another one.
    """

    kind: type[DataSet]
    root: Path
    name: str
    classes: tuple[ClassInfo, ...]
    ignore_index: int
    modalities: tuple[str, ...]
    splits: tuple[str, ...]
    declared: tuple[Declaration, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        for declaration in self.declared:
            declare(declaration, self.root)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()
