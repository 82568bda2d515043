"""How large what a file declares may be, asked before a library is called that would believe it.

A header of a few bytes can declare any number of samples, records or bytes, and libraries reserve memory (or
read for hours) for them. A compressed file may hold more than its own size, but not without limit.
"""

from __future__ import annotations

import os

from armseg_core.errors import FormatError

# Real recordings shrink 2 to 20 times, constant ones up to the 1032 times of deflate (zlib's documentation);
# below the first number even those do no harm: it is less than one light field of 9 x 9 views takes.
UNPACKED_BYTES = 256 << 20
UNPACKED_TIMES = 200


def refuse_bomb(path: str | os.PathLike[str], what: str, declared: int, stored: int) -> None:
    """Raise FormatError where few bytes declare very many.

    Args:
        what: what declares them ("the array 'x'").
        declared: bytes when unpacked. stored: bytes in the file.
    """
    if declared > max(UNPACKED_BYTES, UNPACKED_TIMES * stored):
        raise FormatError(
            f"{what} would be {_size(declared)}, of which the file holds {_size(stored)}",
            where=path,
            expected=f"at most {UNPACKED_TIMES} times what the file holds, or {_size(UNPACKED_BYTES)}",
        )


def _size(count: int) -> str:
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            return f"{count / (1 << power):,.0f} {unit}"
    return f"{count} bytes"
