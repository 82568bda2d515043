"""HDF5 (and MATLAB v7.3): the one place that opens such files, and what is in them, looked at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from armseg_core.errors import FormatError
from armseg_core.files.facts import Facts, facts_of, head_of

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Where it stands: at the start, or behind a user block of 512 bytes (MATLAB) or a larger power of two
# (HDF5 file format specification, II.A); larger blocks than 32 KiB lie outside the head that is read.
_PLACES = (0, *(1 << power for power in range(9, 16)))
_MAX_NODES = 2000  # groups and data sets looked at; a recording has a few dozen
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError)  # what h5py makes of damage


@dataclass(frozen=True)
class Node:
    """A data set, or a group, which has no shape. fields: names of a compound type, () of any other."""

    shape: tuple[int, ...] = ()
    fields: tuple[str, ...] = ()

    @property
    def ndim(self) -> int:
        return len(self.shape)


@dataclass(frozen=True)
class Contents:
    """What is in an HDF5 file, without reading any data.

    names: of what is at the top. attributes: names of those at the top. top: shapes of the data sets there,
    links followed. nodes: everything by its path, links not followed. unopened: why it cannot be opened.
    damage: why it cannot be listed.
    """

    names: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    top: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    unopened: str = ""
    damage: str = ""


def open_hdf5(path: str | os.PathLike[str], **options: Any) -> Any:
    """The file as `h5py.File`, for reading, with the compression filters of hdf5plugin registered.

    Args:
        options: of `h5py.File`.

    Raises:
        OSError: missing, unreadable or damaged.
    """
    import h5py
    import hdf5plugin  # noqa: F401  (registers the compression filters)

    return h5py.File(path, "r", **options)


def create_hdf5(target: Any, **options: Any) -> Any:
    """A new file (a path or a binary stream) as `h5py.File`. Raises OSError."""
    import h5py

    return h5py.File(target, "w", **options)


def blosc(codec: Literal["lz4", "zstd"], level: int) -> Any:
    """Arguments of `create_dataset` for Blosc compression with byte shuffling."""
    import hdf5plugin

    return hdf5plugin.Blosc(cname=codec, clevel=level, shuffle=hdf5plugin.Blosc.SHUFFLE)


def gzip() -> dict[str, Any]:
    """Arguments of `create_dataset` for the filters that every HDF5 library has: shuffle and deflate."""
    return {"compression": "gzip", "compression_opts": 1, "shuffle": True}


def nodes_of(file: Any) -> dict[str, Node]:
    """Path -> node of an open file, in the order of the paths; links are not followed."""
    import h5py

    nodes: dict[str, Node] = {}

    def visit(name: str, item: Any) -> bool | None:
        is_data = isinstance(item, h5py.Dataset)
        nodes[name] = Node(item.shape, tuple(item.dtype.names or ())) if is_data else Node()
        return True if len(nodes) > _MAX_NODES else None

    file.visititems(visit)
    return nodes


def look_into(path: Path) -> Contents | None:
    """What is in a file; None when it is no HDF5 file. Raises OSError when there is no such file."""
    return facts_of(path).once(_contents)


def _contents(facts: Facts) -> Contents | None:
    import h5py

    if not any(facts.head.startswith(_SIGNATURE, place) for place in _PLACES):
        return None
    try:
        file = h5py.File(facts.path, "r")
    except OSError as error:
        return Contents(unopened=str(error), damage=str(error))
    with file:
        names, attributes = frozenset[str](), frozenset[str]()
        try:
            names, attributes = frozenset(file), frozenset(file.attrs)
            top = {name: item.shape for name, item in file.items() if isinstance(item, h5py.Dataset)}
            return Contents(names, attributes, top, nodes_of(file))
        except _DAMAGE as error:
            return Contents(names, attributes, damage=str(error))


def hdf5_keys(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Names and shapes of the data sets at the top of an HDF5 or MATLAB v7.3 file; {} when it is neither.

    Raises:
        FormatError: damaged.
    """
    found = look_into(path) if path.exists() else None
    if found is not None and found.damage:
        raise FormatError(f"the HDF5 file is damaged ({found.damage})", where=path)
    return {} if found is None else found.top


def is_matlab(path: Path) -> bool:
    """Whether the file says that MATLAB wrote it in version 7.3: the axes are then reversed."""
    return head_of(path, 10) == b"MATLAB 7.3"


def read_hdf5(path: Path, key: str, index: tuple[int, ...] | slice = slice(None)) -> np.ndarray:
    """One data set (or a part) of an HDF5 or MATLAB v7.3 file.

    Raises:
        FormatError: damaged, or the data set is absent or not numeric.
    """
    try:
        with open_hdf5(path) as file:
            array = np.asarray(file[key][index])
    except (*_DAMAGE, IndexError, AttributeError) as error:
        raise FormatError(
            f"the data set '{key}' cannot be read ({error})",
            where=path,
            expected="a whole HDF5 or MATLAB v7.3 file",
        ) from error
    if array.dtype.kind not in "uif":
        raise FormatError(f"the data set '{key}' holds {array.dtype}", where=path, expected="numbers")
    return array
