"""The one door to text that users write: UTF-8, with or without a byte order mark, any end of line."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from armseg_core.errors import FormatError, InputError
from armseg_core.files.facts import refuse_special

# bytes of a text that is read at once (lists of ids, descriptions, calibrations): millions of lines
LONGEST = 256 << 20
UTF8_MARK = codecs.BOM_UTF8  # editors on Windows put it before the first line; it is no part of the text
# UTF-32 first: its little-endian mark begins with that of UTF-16
_OTHER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_text(path: str | os.PathLike[str]) -> str:
    r"""The whole text; lines end with "\\n", and a byte order mark is left out.

    Raises:
        InputError: it does not exist, is a folder or may not be read.
        FormatError: it is not UTF-8; the encoding is named where the file tells it.
    """
    refuse_special(path)
    try:
        if Path(path).stat().st_size > LONGEST:
            raise FormatError(
                f"is larger than {LONGEST >> 20} MiB", where=path, expected="a list or description as text"
            )
        data = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError("no such file", where=path) from error
    except IsADirectoryError as error:
        raise InputError("is a folder", where=path, expected="a text file") from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=path) from error
    refuse_wide(path, data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"is not UTF-8 text (byte {error.start + 1})",
            where=path,
            expected="a text file in UTF-8",
            hint="save it again with the encoding UTF-8",
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def wide_encoding(data: bytes) -> str | None:
    """'UTF-16' or 'UTF-32' where the first bytes of a text say so; None for everything else."""
    for mark, name in _OTHER_MARKS:
        if data.startswith(mark):
            return name
    head = data[:64]  # without a mark, Latin letters and digits of UTF-16 still have zeros beside them
    if len(head) >= 4 and (not any(head[1::2]) or not any(head[::2])) and any(head):
        return "UTF-16"
    return None


def refuse_wide(path: str | os.PathLike[str], data: bytes) -> None:
    """Refuse text of two or four bytes a character, of which `data` is the beginning.

    Raises:
        FormatError: naming the encoding.
    """
    encoding = wide_encoding(data)
    if encoding is not None:
        raise FormatError(
            f"is {encoding} text",
            where=path,
            expected="a text file in UTF-8",
            hint="save it again with the encoding UTF-8",
        )
