"""Command lines in messages, hints and 'Next:' lines: what is printed can be pasted into a shell as it is.

Every command with a path in it is made here; `tests/test_hints.py` finds those that are not.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

SWITCH_WORDS = {"yes", "no", "true", "false", "on", "off"}  # text that may be the value of a flag without one


def command(*words: object) -> str:
    """A command line of armseg, quoted for a POSIX shell.

    Args:
        words: name of the command, flags and values as text; files and folders as paths.

    Returns:
        Such as "armseg check 'my scenes'".
    """
    return shlex.join(["armseg", *map(_word, words)])


def _word(value: object) -> str:
    """One word, not quoted yet; a path that begins with '-' would be taken for a flag."""
    text = str(value)
    return f"./{text}" if isinstance(value, PurePath) and text.startswith("-") else text


def sensor_flags(
    modality: str | None = None, representation: str | None = None, options: Mapping[str, Any] | None = None
) -> list[object]:
    """The words that repeat how a recording was read, for `command`.

    Args:
        modality: value of --modality, None: not given. representation: likewise.
        options: fields of a sensor's options group; text as it was typed, a bool of a flag without a value, a
            path, a number, a list of them or a size (H, W). None: not given.
    """
    words: list[object] = []
    for flag, given in (("--modality", modality), ("--representation", representation)):
        words += [] if given is None else [flag, given]
    for name, value in (options or {}).items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, tuple) and len(value) == 2:
            words += [flag, f"{value[1]}x{value[0]}"]
        elif isinstance(value, tuple | list):
            words += ["--set", f"{name}={','.join(map(str, value))}"]
        elif isinstance(value, str | int | float) and (
            str(value).lower() in SWITCH_WORDS or str(value).startswith("-")
        ):
            words += ["--set", f"{name}={value}"]
        elif value is not None:
            words += [flag, value]
    return words
