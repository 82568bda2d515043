"""The common ground of all option groups."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from armseg_core.errors import UsageError


class Options(BaseModel):
    """A frozen group of options that rejects unknown names with a 'did you mean'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls, values: dict[str, Any], where: str | None = None) -> Self:
        """Validate a plain dict.

        Raises:
            UsageError: one line naming the first bad option, what was expected and the nearest known name.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise cls._usage_error(error.errors()[0], where) from error

    @classmethod
    def _usage_error(cls, problem: Any, where: str | None) -> UsageError:
        *groups, last = problem["loc"] or ("",)
        name = ".".join(str(part) for part in problem["loc"])
        expected = expected_in_words(problem)
        if problem["type"] == "extra_forbidden":
            fields = cls._fields_of(groups)
            near = difflib.get_close_matches(str(last), fields, n=1)
            full = ".".join([*groups, *near])
            hint = f"did you mean '{full}'?" if near else "one of " + ", ".join(fields)
            return UsageError(f"unknown option '{name}'", where=where, hint=hint)
        if not name or isinstance(problem["input"], dict):  # options that contradict each other
            return UsageError(
                f"the options {f'of {name} ' if name else ''}do not fit together",
                where=where,
                expected=expected,
            )
        return UsageError(f"option '{name}' is {problem['input']!r}", where=where, expected=expected)

    @classmethod
    def _fields_of(cls, groups: Sequence[Any]) -> list[str]:
        """Names of the options of a nested group."""
        fields: Any = cls.model_fields
        for group in groups:
            fields = getattr(fields[group].annotation, "model_fields", {}) if group in fields else {}
        return list(fields)


# kind of problem as pydantic names it -> what was expected; {names} come from its context
_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "path_type": "a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table of names and values",
    "model_type": "a table of names and values",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} or less",
    "string_too_short": "a text that is not empty",
    "too_short": "{min_length} or more entries",
    "too_long": "{max_length} or fewer entries",
    "missing": "a value",
}


def expected_in_words(problem: Any) -> str:
    """What would have been right, from one of `ValidationError.errors()`."""
    context = problem.get("ctx", {})
    if problem["type"] == "literal_error":
        return str(context["expected"]).replace("'", "")
    if problem["type"] in _EXPECTED:
        return _EXPECTED[problem["type"]].format_map(context)
    return str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")


_TIME = {"us": 1, "ms": 1_000, "s": 1_000_000}


def parse_duration_us(text: str | int) -> int:
    """'50ms', '20000us', '0.1s' -> microseconds (int, > 0).

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*(us|ms|s)\s*", str(text))
    try:
        value = round(float(match[1]) * _TIME[match[2]]) if match else 0
    except ValueError:
        value = 0
    if value <= 0:
        raise UsageError(f"'{text}' is not a duration", expected="a number with us, ms or s, such as 50ms")
    return value


def parse_size(text: str) -> tuple[int, int]:
    """'640x480' (width x height, as cameras are named) -> (H, W) = (480, 640).

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"\s*(\d+)\s*[xX]\s*(\d+)\s*", text)
    if not match or not int(match[1]) or not int(match[2]):
        raise UsageError(f"'{text}' is not a size", expected="WIDTHxHEIGHT, such as 640x480")
    return int(match[2]), int(match[1])
