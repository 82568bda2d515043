"""Which files may be replaced: those that armseg made and nobody changed since, by the seal they carry.

A seal is the text `armseg-sha256:` and the SHA-256 of everything else in the file: in a text chunk of a PNG,
in a comment or a value of a text file, behind the last byte of HDF5. A mask corrected by hand, a list that
was edited, a tensor file that was opened for writing (HDF5 cuts off what follows its data) no longer fits its
seal: it is the user's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from armseg_core.errors import OutputError
from armseg_core.files.image_headers import PNG_MAGIC

_MARK = "armseg-sha256:"
_DIGITS = 64  # of a SHA-256
EMPTY_SEAL = _MARK + "0" * _DIGITS  # what a text holds where `sealed` fills in its digest
_CRC = 4  # bytes behind the text of a PNG chunk; they depend on the seal
_IHDR_END = 33  # signature and header chunk of a PNG
_TAIL = len(EMPTY_SEAL) + 1  # a seal behind the last byte, and a line feed
# Above this size the seal of a tensor file covers samples, so that it costs a conversion less than 2 %: what
# changes such a file is a program that opens it as HDF5, and that removes the seal.
_WHOLE = 8 << 20
_SAMPLES = 64
_SAMPLE = 1 << 17
# Pictures and texts of armseg are smaller; what is larger and has no seal at its end is not read for one.
_LARGEST = 256 << 20


def sealed(data: bytes) -> bytes:
    """`data` with the digest filled into its EMPTY_SEAL."""
    start = data.rindex(_MARK.encode()) + len(_MARK)
    digest = _digest_around(data, start).encode()
    filled = data[:start] + digest + data[start + _DIGITS :]
    if not data.startswith(PNG_MAGIC):
        return filled
    end = start + _DIGITS
    crc = zlib.crc32(filled[_IHDR_END + 4 : end])  # of the type and content of the chunk
    return filled[:end] + struct.pack(">I", crc) + filled[end + _CRC :]


def sealed_png(data: bytes, note: str = "") -> bytes:
    """A PNG file with a text chunk that holds a note (ASCII) and the seal."""
    content = b"tEXt" + b"armseg\0" + f"{note} {EMPTY_SEAL}".encode("ascii")
    chunk = struct.pack(">I", len(content) - 4) + content + bytes(_CRC)
    return sealed(data[:_IHDR_END] + chunk + data[_IHDR_END:])


def seal_end(path: Path) -> None:
    """Add a seal behind the last byte of a file."""
    with open(path, "r+b") as stream:
        digest = _digest_of(stream, stream.seek(0, os.SEEK_END))
        stream.seek(0, os.SEEK_END)
        stream.write(f"{_MARK}{digest}\n".encode())


def is_sealed(path: str | os.PathLike[str]) -> bool:
    """Whether armseg made the file and it is still as it was written; False where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL))
            tail = stream.read(_TAIL)
            if tail.startswith(_MARK.encode()):
                return tail[len(_MARK) : -1] == _digest_of(stream, size - _TAIL).encode()
            if size > _LARGEST:
                return False
            stream.seek(0)
            data = stream.read()
    except OSError:
        return False
    start = data.rfind(_MARK.encode()) + len(_MARK)
    return start >= len(_MARK) and data[start : start + _DIGITS] == _digest_around(data, start).encode()


def note_of(path: str | os.PathLike[str]) -> str:
    """The note of a picture that `is_sealed`."""
    with open(path, "rb") as stream:
        head = stream.read(4096)  # the chunk follows the header
    return head.partition(_MARK.encode())[0].rpartition(b"\0")[2].decode("ascii", "replace").strip()


def entries_below(folder: Path) -> list[Path]:
    """Everything below a folder that is no folder, links too, in name order."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def copy_entry(source: Path, target: Path) -> None:
    """Copy a file, or a link as a link, over what is there; folders of `target` are made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)


def check_free(
    paths: Iterable[Path],
    *,
    force: bool = False,
    ours: Callable[[Path], bool] = is_sealed,
    elsewhere: str = "another place with -o/--output",
) -> None:
    """Refuse to go on where a file that may not be replaced is in the way of a result.

    Args:
        paths: the results.
        force: replace any file; a folder is in the way all the same.
        ours: whether armseg made an existing file and it is unchanged.
        elsewhere: what else to type, "" where there is no choice.

    Raises:
        OutputError: naming the first of them. Nothing was touched.
    """
    for path in paths:
        if path.is_dir():
            raise OutputError("a folder of that name is in the way", where=path, hint=elsewhere or None)
        empty = path.is_file() and path.stat().st_size == 0  # holds nothing that could be lost
        if force or empty or not os.path.lexists(path) or ours(path):
            continue
        raise OutputError(
            "is in the way: not made by armseg, or changed since",
            where=path,
            hint=", or ".join(filter(None, (elsewhere, "--force to replace it"))),
        )


def _digest_around(data: bytes, start: int) -> str:
    """SHA-256 of what is before and behind the digits of a seal (and their CRC, in a PNG)."""
    end = start + _DIGITS + (_CRC if data.startswith(PNG_MAGIC) else 0)
    digest = hashlib.sha256(data[:start])
    digest.update(data[end:])
    return digest.hexdigest()


def _digest_of(stream: BinaryIO, size: int) -> str:
    """SHA-256 of the first `size` bytes, or of their number and samples of them where they are many."""
    digest = hashlib.sha256(str(size).encode())
    if size <= _WHOLE:
        places = [(0, size)]
    else:
        step = (size - _SAMPLE) // (_SAMPLES - 1)
        places = [(i * step, _SAMPLE) for i in range(_SAMPLES - 1)] + [(size - _SAMPLE, _SAMPLE)]
    for offset, count in places:
        stream.seek(offset)
        while count and (block := stream.read(min(count, 1 << 20))):
            digest.update(block)
            count -= len(block)
    return digest.hexdigest()
