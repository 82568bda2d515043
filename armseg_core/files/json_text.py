"""The one way to JSON text: numbers that JSON does not have (NaN, infinity) become null."""

from __future__ import annotations

import json
import math
from typing import Any


def to_json(value: Any, **options: Any) -> str:
    """`value` as JSON that every reader takes.

    Args:
        options: of `json.dumps`.
    """
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
