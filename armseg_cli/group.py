"""How every command of armseg behaves: loading on use, help layout, errors, warnings and interruption.

`ArmsegGroup.guard` is the one place where an exception becomes a line on stderr and an exit code:

    ArmsegError, usage errors, files that cannot be read or written     exit 2
    Ctrl-C (SIGINT), SIGTERM, SIGHUP                                    exit 128 + signal: 130, 143, 129
    anything else (a defect of armseg)                                  exit 1
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import importlib
import inspect
import os
import re
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from armseg_core.errors import ArmsegError, ArmsegWarning, UsageError, is_panic, printable
from armseg_core.interruption import exit_code, signals_interrupt

_SAME_WARNINGS = 3  # lines for one thing said of many files: enough to see that they are many
_PATH_AND_NUMBERS = re.compile(r"^[^:]*: |\d+(\.\d+)?")  # "PATH: text" is the form of what is said of a file


@dataclass(frozen=True)
class Row:
    """One command.

    `module` has a typer function `command`; it is imported when the command is used, so that `armseg --help`
    stays fast. `interrupted` is said when a signal ends it: what is kept and how to go on. `former` holds
    flags of earlier versions: what to type instead.
    """

    name: str
    module: str
    summary: str
    interrupted: str
    former: Mapping[str, str] = field(default_factory=dict)


Sections = dict[str, list[tuple[str, str]]]  # heading -> (option, help)


class ArmsegCommand(TyperCommand):
    """A command whose docstring is shown as it is written and whose options are listed by panel."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        write_verbatim(self.help, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for title, records in self.sections(ctx).items():
            with formatter.section(title):
                widest = max(len(option) for option, _ in records)
                one_line = all(widest + len(text) + 4 < formatter.width for _, text in records)
                formatter.write_dl(records, col_max=widest if one_line else 30)

    def sections(self, ctx: Any) -> Sections:
        """What the help lists."""
        found: Sections = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                default = "Arguments" if param.param_type_name == "argument" else "Options"
                found.setdefault(getattr(param, "rich_help_panel", None) or default, []).append(record)
        return found


class ArmsegGroup(TyperGroup):
    """The group of all commands. Subclasses set `rows`."""

    rows: ClassVar[tuple[Row, ...]] = ()

    def list_commands(self, ctx: Any) -> list[str]:
        return [row.name for row in self.rows]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        row = next((row for row in self.rows if row.name == cmd_name), None)
        if row is None:
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = load(row)
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        names = self.list_commands(ctx)
        if args[0] not in names and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], names, n=1)
            raise UsageError(
                f"'{args[0]}' is not a command",
                expected="one of " + ", ".join(names),
                hint=f"armseg {near[0]}" if near else "armseg --help",
            )
        return super().resolve_command(ctx, args)

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        write_verbatim(self.help, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(row.name, row.summary) for row in self.rows])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with self.guard(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with signals_interrupt(), self.guard(ctx), one_line_warnings():
            return super().invoke(ctx)

    @contextlib.contextmanager
    def guard(self, ctx: Any) -> Iterator[None]:
        """Turn exceptions into one line on stderr and an exit code (table at the top of this file)."""
        try:
            yield
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt as error:
            row = self._row(ctx)
            kept = "; ".join(getattr(error, "__notes__", ())) or (row.interrupted if row else "")
            fail(error, f"interrupted: {kept}" if kept else "interrupted", exit_code(error))
        except BaseException as error:
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            row = self._row(ctx)
            path = " ".join(filter(None, [ctx.command_path, ctx.invoked_subcommand]))
            line, code = describe(error, path, row.former if row else {})
            fail(error, line, code)

    def _row(self, ctx: Any) -> Row | None:
        return next((row for row in self.rows if row.name == ctx.invoked_subcommand), None)


def load(row: Row) -> Any:
    """Import the module of a command and build the command from its function `command`."""
    function = importlib.import_module(row.module).command
    kind = getattr(function, "command_class", ArmsegCommand)
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(row.name, cls=kind, short_help=row.summary)(function)
    return typer.main.get_command(single)


def write_verbatim(text: str | None, formatter: Any) -> None:
    """Write help as it stands in the docstring: examples keep their lines and can be copied."""
    formatter.write_paragraph()
    for line in inspect.cleandoc(text or "").splitlines():
        formatter.write(f"  {line}".rstrip() + "\n")


_UNUSABLE = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENAMETOOLONG,
    errno.EFBIG,
    errno.ELOOP,
}


def describe(
    error: BaseException, command: str = "armseg", former: Mapping[str, str] | None = None
) -> tuple[str, int]:
    """The line for the user and the exit code of an exception raised in a command ("armseg convert").

    former: flags that the command had once -> what to type instead.
    """
    if isinstance(error, ArmsegError):
        return f"error: {error}", error.exit_code
    if isinstance(error, typer.TyperException):
        return f"error: {usage_line(error, command, former or {})}", 2
    if isinstance(error, OSError) and error.errno in _UNUSABLE:
        where = f"{error.filename}: " if error.filename else ""
        return f"error: {where}{(error.strerror or str(error)).lower()}", 2
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "error: out of memory. Try: a smaller --size or --batch-size, or --device cpu", 1
    text = " ".join(str(error).split())
    return (
        f"error: internal error: {type(error).__name__}: {text}. "
        "Try: the same command with ARMSEG_TRACEBACK=1 in front, and report what it prints"
    ), 1


def usage_line(error: Any, command: str, former: Mapping[str, str]) -> str:
    """A usage error of typer in one line, with a suggestion where there is one."""
    text = " ".join(error.format_message().split())
    name = getattr(error, "option_name", None)
    if name is not None and name in former:
        text = f"No such option: {name}. Try: {former[name]}"
    elif getattr(error, "possibilities", None):
        near = difflib.get_close_matches(name, error.possibilities, n=1) or error.possibilities[:1]
        text = f"No such option: {name}. Try: {near[0]}"
    else:
        text = f"{text.rstrip('.')}. Try: {command} --help"
    return text[:1].lower() + text[1:]


def fail(error: BaseException, line: str, code: int) -> None:
    """Print the line (and the traceback when ARMSEG_TRACEBACK is set) and leave with the code."""
    with contextlib.suppress(OSError):  # the terminal is gone
        if os.environ.get("ARMSEG_TRACEBACK"):
            traceback.print_exception(error, file=sys.stderr)
        print(printable(line), file=sys.stderr)
    raise typer.Exit(code) from None


@contextlib.contextmanager
def one_line_warnings() -> Iterator[None]:
    """Show each different ArmsegWarning once, as one 'warning:' line; other warnings stay as they are.

    Of those that say the same of many files, numbers aside, the first few are shown.
    """
    said: set[str] = set()
    kinds: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("always", ArmsegWarning)
        show_other = warnings.showwarning

        def show(message: Any, category: Any, *args: Any, **kwargs: Any) -> None:
            if not issubclass(category, ArmsegWarning):
                show_other(message, category, *args, **kwargs)
            elif (text := printable(" ".join(str(message).split()))) not in said:
                said.add(text)
                kind = _PATH_AND_NUMBERS.sub("", text)
                kinds[kind] += 1
                if kinds[kind] <= _SAME_WARNINGS:
                    print(f"warning: {text}", file=sys.stderr)
                elif kinds[kind] == _SAME_WARNINGS + 1:
                    print(f"warning: and the same of more files, as of {text}", file=sys.stderr)

        warnings.showwarning = show
        yield
