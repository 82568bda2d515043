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
from armseg_core.files.limits import refuse_bomb

BLOSC_FILTER = 32001  # as registered with the HDF Group
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Where it stands: at the start, or behind a user block of 512 bytes (MATLAB) or a larger power of two
# (HDF5 file format specification, II.A); larger blocks than 32 KiB lie outside the head that is read.
_PLACES = (0, *(1 << power for power in range(9, 16)))
_MAX_NODES = 2000  # groups and data sets looked at; a recording has a few dozen
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, SystemError)  # what h5py makes of damage


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
    damage: why it cannot be listed. outside: what in it is kept in other files, "" when nothing is.
    """

    names: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    top: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    unopened: str = ""
    damage: str = ""
    outside: str = ""


def open_hdf5(path: str | os.PathLike[str], **options: Any) -> Any:
    """The file as `h5py.File`, for reading, with the compression filters of hdf5plugin registered.

    Args:
        options: of `h5py.File`.

    Raises:
        OSError: missing, unreadable or damaged. FormatError: a part of it is kept in another file.
    """
    import h5py
    import hdf5plugin  # noqa: F401  (registers the compression filters)

    refuse_outside(Path(path))
    return h5py.File(path, "r", **options)


def refuse_outside(path: Path) -> None:
    """Raise FormatError for a file that takes data from other files.

    HDF5 would follow links, external storage and virtual data sets to any file the user may read, and a
    recording from elsewhere could name those: what is converted stands in the file that was given.
    """
    found = look_into(path)
    if found is not None and found.outside:
        raise FormatError(
            f"the HDF5 file takes data from another file: {found.outside}",
            where=path,
            expected="a file that holds its own data",
            hint="copy the data into one file, with h5repack or h5py",
        )


def create_hdf5(target: Any, **options: Any) -> Any:
    """A new file (a path or a binary stream) as `h5py.File`. Raises OSError."""
    import h5py

    return h5py.File(target, "w", **options)


def blosc(codec: Literal["lz4", "zstd"], level: int) -> Any:
    """Arguments of `create_dataset` for Blosc compression with byte shuffling."""
    import hdf5plugin

    return hdf5plugin.Blosc(cname=codec, clevel=level, shuffle=hdf5plugin.Blosc.SHUFFLE)


def blosc_library() -> Path | None:
    """The shared library of hdf5plugin with the Blosc filter and Blosc itself; None: not found."""
    import hdf5plugin

    return next(iter(sorted(Path(hdf5plugin.PLUGINS_PATH).glob("libh5blosc.*"))), None)


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


def _outside(file: Any) -> str:
    """The first part of an open file that HDF5 would fetch from another file, in words; "" for none."""
    import h5py

    seen: set[int] = set()
    todo = [("", file)]
    while todo:  # not by h5py's visitors: damage met in a callback is a SystemError
        place, group = todo.pop()
        for name in group:
            link, path = group.get(name, getlink=True), f"{place}/{name}"
            if isinstance(link, h5py.ExternalLink):
                return f"the external link '{path}'"
            if not isinstance(link, h5py.HardLink):
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address not in seen:  # hard links may lead back up
                    seen.add(address)
                    todo.append((path, item))
            elif isinstance(item, h5py.Dataset):
                if item.external:
                    return f"the external storage of '{path}'"
                if item.is_virtual and any(source.file_name != "." for source in item.virtual_sources()):
                    return f"the virtual data set '{path}'"
    return ""


def look_into(path: Path) -> Contents | None:
    """What is in a file; None when it is no HDF5 file. Raises OSError when there is no such file."""
    return facts_of(path).once(_contents)


def _contents(facts: Facts) -> Contents | None:
    import h5py

    if not any(facts.head.startswith(_SIGNATURE, place) for place in _PLACES):
        return None
    try:
        file = h5py.File(facts.path, "r")
    except _DAMAGE as error:
        return Contents(unopened=str(error), damage=str(error))
    with file:
        names, attributes = frozenset[str](), frozenset[str]()
        try:
            names, attributes = frozenset(file), frozenset(file.attrs)
            outside = _outside(file)
            if outside:  # its own file would be opened to look at it
                return Contents(names, attributes, outside=outside)
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
        raise FormatError("the HDF5 file is damaged: its table of contents cannot be read", where=path)
    return {} if found is None else found.top


def is_matlab(path: Path) -> bool:
    """Whether the file says that MATLAB wrote it in version 7.3: the axes are then reversed."""
    return head_of(path, 10) == b"MATLAB 7.3"


def refuse_unstored(path: Path, name: str, data: Any) -> None:
    """Raise FormatError for a data set that declares far more than is stored of it.

    HDF5 reads parts that were never written as zeros, so a few bytes can declare any size.
    """
    refuse_bomb(path, f"the data set '{name}'", data.size * data.dtype.itemsize, data.id.get_storage_size())


def read_hdf5(path: Path, key: str, index: tuple[int, ...] | slice = slice(None)) -> np.ndarray:
    """One data set (or a part) of an HDF5 or MATLAB v7.3 file.

    Raises:
        FormatError: damaged, or the data set is absent or not numeric.
    """
    try:
        with open_hdf5(path) as file:
            data = file[key]
            refuse_unstored(path, key, data)
            array = np.asarray(data[index])
    except (*_DAMAGE, IndexError, AttributeError) as error:
        raise FormatError(
            f"the data set '{key}' cannot be read: the file is truncated or damaged there",
            where=path,
            expected="a whole HDF5 or MATLAB v7.3 file",
        ) from error
    if array.dtype.kind not in "uif":
        raise FormatError(f"the data set '{key}' holds {array.dtype}", where=path, expected="numbers")
    return array
