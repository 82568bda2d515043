"""NumPy files, npy and npz: headers looked at once, arrays read or memory-mapped. Nothing is unpickled."""

from __future__ import annotations

import contextlib
import io
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from armseg_core.errors import FormatError, InputError
from armseg_core.files.facts import Facts, facts_of, refuse_special
from armseg_core.files.limits import refuse_bomb

NPY_MAGIC = b"\x93NUMPY"
Header = tuple[tuple[int, ...], np.dtype]  # shape, sample type
_KNOWN_NAMES = ("depth", "thermal", "temperature", "lf", "light_field", "views", "stokes", "arr_0", "data")


@dataclass(frozen=True)
class _Layout:
    """What the header of a npy file says; offset: where the samples begin."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    offset: int


@dataclass(frozen=True)
class _Archive:
    """names: of the members of a npz file. headers: of its arrays; None when a member is no array.

    sizes: bytes of each member when unpacked, by the table of the archive.
    """

    names: tuple[str, ...]
    headers: dict[str, Header] | None
    sizes: dict[str, int]


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


def _layout(facts: Facts) -> _Layout | None:
    if not facts.head.startswith(NPY_MAGIC):
        return None
    stream = io.BytesIO(facts.head)
    return _Layout(*_read_header(stream), stream.tell())


def npy_header(path: Path) -> Header | None:
    """(shape, dtype) of a .npy file without reading its data; None for anything else or object arrays.

    Raises:
        ValueError and others of NumPy's: a damaged header.
    """
    layout = facts_of(path).once(_layout)
    return None if layout is None or layout.dtype.hasobject else (layout.shape, layout.dtype)


def is_plane(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array can be one picture of one channel: (H, W), (H, W, 1) or (1, H, W) numbers.

    The second length is above 8: below, the array is rather a table of points.
    """
    flat = len(shape) == 2 or (len(shape) == 3 and 1 in (shape[0], shape[2]))
    return flat and dtype.kind in "uif" and min(shape[-2:]) > 0 and shape[1] > 8


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write a new npy file of plain numbers."""
    with open(path, "xb") as stream:
        np.lib.format.write_array(stream, array, allow_pickle=False)


def map_npy(path: Path) -> np.ndarray:
    """The array of a .npy file, memory-mapped for reading.

    Raises:
        ValueError and others of NumPy's: damaged, or Python objects.
    """
    layout = facts_of(path).once(_layout)
    if layout is None or layout.dtype.hasobject:  # NumPy knows what to say about it
        mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped
    order: Any = "F" if layout.fortran else "C"
    return np.memmap(path, layout.dtype, "r", layout.offset, layout.shape, order)


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """A .npz file, open: array by name.

    Raises:
        FormatError: an array is declared larger than its member, or the members far larger than the file.
        What NumPy raises for damaged files.
    """
    _check_sizes(path)
    with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
        yield archive


def read_npy(path: Path) -> np.ndarray:
    """An array of a .npy file, or the only (or the best known) array of a .npz file; pickles are refused.

    Raises:
        InputError: missing. FormatError: damaged, pickled, or several arrays and none with a usual name.
    """
    refuse_special(path)
    if not path.is_file():
        raise InputError("no such file", where=path)
    _check_sizes(path)
    try:
        with path.open("rb") as file:  # np.load leaves a file it opened itself open when it is damaged
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else _only_array(loaded, path)
    except FormatError:
        raise
    except ValueError as error:
        pickled = "pickle" in str(error)
        what = "the array is pickled, which can run code" if pickled else "not a whole npy/npz file"
        raise FormatError(
            what, where=path, hint="np.save(path, np.asarray(data)) of a plain numeric array"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # zipfile.BadZipFile, EOFError, zlib.error, OSError of damaged files
        raise FormatError("not a whole npy/npz file: truncated or damaged", where=path) from error


def _check_sizes(path: Path) -> None:
    """Raise FormatError where the headers of a npy or npz file declare more than it holds.

    Damage of other kinds is left to NumPy.
    """
    facts = facts_of(path)
    layout = None
    with contextlib.suppress(Exception):  # the parser of the header has errors of its own
        layout = facts.once(_layout)
    if layout is not None:
        _check_array(path, "the array", (layout.shape, layout.dtype), facts.size - layout.offset)
    archive = facts.once(_archive)
    if archive is None:
        return
    refuse_bomb(path, "what is in the archive", sum(archive.sizes.values()), facts.size)
    for name, header in (archive.headers or {}).items():
        _check_array(path, f"the array '{name}'", header, archive.sizes[name])


def _check_array(path: Path, what: str, header: Header, held: int) -> None:
    shape, dtype = header
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize > held:
        text = " x ".join(map(str, shape))
        raise FormatError(
            f"{what} is declared as {text} {dtype}, for which its {held:,} bytes are too few",
            where=path,
            expected="a whole file: truncated or damaged",
        )


def _only_array(archive: np.lib.npyio.NpzFile, path: Path) -> np.ndarray:
    names = archive.files
    if not names:
        raise FormatError("the archive holds no array", where=path)
    known = [name for name in names if name.lower() in _KNOWN_NAMES]
    if len(names) > 1 and len(known) != 1:
        raise FormatError(
            f"the archive holds {len(names)} arrays ({', '.join(names[:6])})",
            where=path,
            expected="one array, or one named " + " / ".join(_KNOWN_NAMES),
        )
    return archive[known[0] if known else names[0]]


def _archive(facts: Facts) -> _Archive | None:
    if not facts.head.startswith(b"PK"):
        return None
    try:
        with zipfile.ZipFile(facts.path) as archive:
            names = tuple(archive.namelist())
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
            return _Archive(names, _headers(archive, names), sizes)
    except zipfile.BadZipFile:
        return None


def _headers(archive: zipfile.ZipFile, names: tuple[str, ...]) -> dict[str, Header] | None:
    headers: dict[str, Header] = {}
    try:
        for name in names:
            with archive.open(name) as stream:
                # 64 KiB: headers of arrays have some hundred bytes, and a length in front that may be wrong
                shape, _, dtype = _read_header(io.BytesIO(stream.read(1 << 16)))
                headers[name.removesuffix(".npy")] = (shape, dtype)
    except Exception:  # no array, damaged, encrypted, or of a compression that is not known
        return None
    return headers


def is_archive(path: Path) -> bool:
    """Whether a file is a whole zip archive, as .npz files are."""
    return facts_of(path).once(_archive) is not None


def npz_names(path: Path) -> tuple[str, ...]:
    """Names of the arrays in a .npz file, in lower case; () for anything else."""
    archive = facts_of(path).once(_archive)
    return () if archive is None else tuple(name.removesuffix(".npy").lower() for name in archive.names)


def npz_headers(path: Path) -> dict[str, Header]:
    """Name -> (shape, dtype) of the arrays of a .npz file, without reading them.

    Raises:
        FormatError: not a whole archive of arrays.
    """
    archive = facts_of(path).once(_archive)
    if archive is None or archive.headers is None:
        raise FormatError("not a whole archive of arrays", where=path)
    return archive.headers
