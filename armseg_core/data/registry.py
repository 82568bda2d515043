"""The table of data sets and the one function that opens any of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from armseg_core.data.dataset import DataSet, ToTensor
from armseg_core.data.folder import FolderDataset
from armseg_core.data.public.sets import (
    DDD17,
    DELIVER,
    FMB,
    PST900,
    DSECSemantic,
    MCubeS,
    MFNet,
    NYUDepthV2,
    UrbanLF,
)
from armseg_core.errors import DataSetError, InputError

# tried in this order; a new public data set is one class in `public.py` and one row here
DATASETS: tuple[type[DataSet], ...] = (
    FolderDataset,
    MFNet,
    PST900,
    FMB,
    NYUDepthV2,
    MCubeS,
    UrbanLF,
    DDD17,
    DSECSemantic,
    DELIVER,
)


def open_dataset(
    root: str | os.PathLike[str],
    split: str,
    modalities: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    cache_mb: float = 0,
    cache_dir: str | os.PathLike[str] | None = None,
    to_tensor: ToTensor | None = None,
) -> DataSet:
    """Open a split of any data set: a folder with dataset.toml, or a public one by its layout.

    Arguments as in `DataSet`.

    Raises:
        InputError: the folder does not exist.
        DataSetError: it is no data set; lists what was looked for.
        UsageError: an unknown split or sensor.
    """
    return dataset_class(root)(root, split, modalities, size, cache_mb, cache_dir, to_tensor)


def dataset_class(root: str | os.PathLike[str]) -> type[DataSet]:
    """The class that reads a folder.

    Raises:
        InputError: the folder does not exist. DataSetError: no class reads it; lists what was looked for.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise InputError(
            "no such folder" if not folder.exists() else "not a folder",
            where=folder,
            expected="the folder of a data set",
        )
    for kind in DATASETS:
        if kind.matches(folder):
            return kind
    raise DataSetError(
        "not a data set",
        where=folder,
        expected="one of " + "; ".join(f"{kind.title}: {kind.layout}" for kind in DATASETS),
    )
