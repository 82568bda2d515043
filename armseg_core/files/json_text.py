"""The one way to JSON text, in which NaN and infinity become null, and from it, where they are refused."""

from __future__ import annotations

import json
import math
import os
from typing import Any, NoReturn

from armseg_core.errors import FormatError
from armseg_core.files.text import read_text


def to_json(value: Any, **options: Any) -> str:
    """`value` as JSON that every reader takes.

    Args:
        options: of `json.dumps`.
    """
    return json.dumps(_finite(value), allow_nan=False, **options)


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file that users or other programs wrote.

    Raises:
        InputError: as `read_text`. FormatError: not JSON, nested too deeply, or numbers that are none.
    """
    text = read_text(path)
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise FormatError("the JSON is nested too deeply", where=path, expected="a few levels") from error
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error.msg} in line {error.lineno}", where=path) from error
    except ValueError as error:  # NaN, or a whole number of thousands of digits
        raise FormatError("the JSON holds NaN, infinity or a huge number", where=path) from error


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
