"""`armseg` and `python -m armseg_cli`."""

from __future__ import annotations

import os
import sys


def run() -> None:
    """Run the command line with the arguments of this process. Exits with the command's code."""
    from armseg_cli.main import app

    try:
        app(prog_name="armseg")
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # the reader (`| head`) has gone: not an error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    run()
