"""`armseg` and `python -m armseg_cli`."""

from __future__ import annotations

import io
import os
import sys


def run() -> None:
    """Run the command line with the arguments of this process. Exits with the command's code."""
    _open_streams()
    from armseg_cli.main import app

    try:
        app(prog_name="armseg")
    finally:
        try:
            sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if not isinstance(error, BrokenPipeError):  # the reader (`| head`) has gone: not an error
                print(f"error: stdout: {(error.strerror or str(error)).lower()}", file=sys.stderr)
                sys.exit(2)


def _open_streams() -> None:
    """Make stdin, stdout and stderr usable, whatever the shell made of them.

    A stream that is closed (`>&-`) becomes the null device: else the next file that is opened gets its
    number, and what a library prints would end in it. Characters that a stream cannot show are escaped.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    run()
