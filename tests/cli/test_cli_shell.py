"""The shell around the commands, with commands made for the test: errors, warnings, interruption, help."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Annotated

import pytest
import typer
from places import REPOSITORY
from typer.testing import CliRunner

from armseg_cli.group import ArmsegGroup, Row
from armseg_cli.main import COMMANDS
from armseg_core.errors import ArmsegWarning, FormatError


def run_with(command, *arguments: str):
    """Run `armseg work ARGUMENTS` where the command `work` is the given function."""
    module = types.ModuleType("armseg_test_command")
    module.command = command  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module

    class Group(ArmsegGroup):
        rows = (Row("work", module.__name__, "Works.", "three files are kept"),)

    app = typer.Typer(cls=Group, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    return CliRunner().invoke(app, ["work", *arguments], prog_name="armseg")


def raising(error: BaseException):
    def command() -> None:
        print("begun")
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (
            FormatError(
                "the file is\ntruncated", where="a.h5", expected="4 rows, got 3", hint="copy it again"
            ),
            "error: a.h5: the file is truncated (expected 4 rows, got 3). Try: copy it again",
            2,
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "x.png"),
            "error: x.png: no such file or directory",
            2,
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/out"), "error: /out: permission denied", 2),
        (
            OSError(errno.ENOSPC, "No space left on device", "/full/x"),
            "error: /full/x: no space left on device",
            2,
        ),
        (MemoryError(), "error: out of memory. Try: a smaller --size or --batch-size, or --device cpu", 1),
        (KeyboardInterrupt(), "interrupted: three files are kept", 130),
    ],
)
def test_an_exception_becomes_one_line_and_a_code(error: BaseException, line: str, code: int) -> None:
    result = run_with(raising(error))
    assert (result.stderr, result.stdout, result.exit_code) == (line + "\n", "begun\n", code)


def test_an_interrupted_command_can_say_itself_what_is_kept() -> None:
    error = KeyboardInterrupt()
    error.add_note("epoch 3 is kept in runs/x-001")
    assert run_with(raising(error)).stderr == "interrupted: epoch 3 is kept in runs/x-001\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_command_as_ctrl_c_does(name: str) -> None:
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip("not on this system")
    cleaned = []

    def command() -> None:
        try:
            signal.raise_signal(number)
        finally:
            if name != "SIGINT":
                signal.raise_signal(number)  # told twice: cleaning up goes on
            cleaned.append(True)

    handler = signal.getsignal(number)
    result = run_with(command)
    assert (result.stderr, result.exit_code) == ("interrupted: three files are kept\n", 128 + number)
    assert cleaned
    assert signal.getsignal(number) is handler


def test_a_lost_terminal_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(signal, "SIGHUP"):
        pytest.skip("not on this system")
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        assert run_with(lambda: signal.raise_signal(signal.SIGHUP)).exit_code == 0
    finally:
        signal.signal(signal.SIGHUP, former)


def test_an_unexpected_exception_is_one_line_that_tells_how_to_see_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = run_with(raising(ZeroDivisionError("division\nby zero")))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: internal error: ZeroDivisionError: division by zero")
    assert "ARMSEG_TRACEBACK=1" in result.stderr
    monkeypatch.setenv("ARMSEG_TRACEBACK", "1")
    assert "Traceback (most recent call last)" in run_with(raising(ZeroDivisionError("x"))).stderr


def test_an_os_error_that_is_not_about_a_file_is_a_defect() -> None:
    assert run_with(raising(ConnectionResetError(errno.ECONNRESET, "reset"))).exit_code == 1


def test_each_warning_of_armseg_is_one_line_and_said_once() -> None:
    def command() -> None:
        for _ in range(2):
            warnings.warn(ArmsegWarning("12 events lie\noutside the sensor"), stacklevel=1)

    assert run_with(command).stderr == "warning: 12 events lie outside the sensor\n"


def with_options(
    path: Path,
    window: Annotated[str, typer.Option(rich_help_panel="Windows")] = "50ms",
    bins: Annotated[int, typer.Option(min=1)] = 5,
) -> None:
    """Turn a thing into another.

    Example:
        armseg work a.h5   --bins 3
    """


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["a", "--widow", "1ms"], "error: no such option: --widow. Try: --window"),
        (["a", "--xyzzy"], "error: no such option: --xyzzy. Try: armseg work --help"),
        (["a", "--bins", "many"], None),
        (["a", "--bins", "0"], None),
        (["a", "--window"], None),
        (["a", "b"], "error: got unexpected extra argument(s) (b). Try: armseg work --help"),
        ([], None),
    ],
)
def test_a_usage_error_is_one_line_with_advice(arguments: list[str], line: str | None) -> None:
    result = run_with(with_options, *arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert line is None or result.stderr == line + "\n"
    assert result.stderr.startswith("error: ")
    assert ". Try: " in result.stderr


def test_help_keeps_the_lines_of_the_docstring_and_lists_options_by_panel() -> None:
    text = run_with(with_options, "--help").stdout
    assert "\n  Example:\n      armseg work a.h5   --bins 3\n" in text
    assert text.index("Arguments:") < text.index("Windows:\n  --window") < text.index("Options:\n  --bins")


def test_an_unknown_command_gets_the_nearest_name(armseg) -> None:
    result = armseg("convrt", "x.h5")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.endswith("Try: armseg convert\n")
    assert armseg("--verion").stderr == "error: no such option: --verion. Try: --version\n"


def test_version_and_bare_armseg(armseg) -> None:
    from armseg_core import __version__

    assert armseg("--version").stdout == f"armseg {__version__}\n"
    bare = armseg()
    assert bare.exit_code == 0
    assert all(f"\n  {row.name} " in bare.stdout for row in COMMANDS)


def test_a_reader_that_goes_away_is_not_an_error() -> None:
    code = "import sys; sys.argv = ['armseg', '--help']; from armseg_cli.__main__ import run; run()"
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    os.close(write_end)
    assert done.stderr == ""


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_command_has_help_with_an_example(row: Row, armseg) -> None:
    result = armseg(row.name, "--help")
    assert result.exit_code == 0, result.stderr
    assert f"armseg {row.name}" in result.stdout.split("Example", 1)[1].split("Options:")[0]
