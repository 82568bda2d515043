"""What every command has in common, over the table of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from one_line import assert_refused

from armseg_cli.group import Row
from armseg_cli.main import COMMANDS, app

every = pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
# the arguments of a command that names a missing file, and what the line must hold
MISSING = {
    "convert": ("nothing.h5",),
    "train": ("nothing",),
    "eval": ("nothing", "--model", "nothing"),
    "predict": ("nothing.png",),
    "visualize": ("nothing.png",),
    "inspect": ("nothing.h5",),
    "check": ("nothing",),
    "simulate": None,  # makes what it names
    "demo": None,
    "doctor": None,
}
LONGEST_HELP = 60  # lines: two pages of a small terminal


def parameters(name: str) -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    found = group.get_command(group.make_context("armseg", [], resilient_parsing=True), name)
    return {flag: parameter for parameter in found.params for flag in parameter.opts}


@every
def test_help_is_short_and_has_an_example(row: Row, armseg) -> None:
    result = armseg(row.name, "--help")
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) < LONGEST_HELP
    assert f"      armseg {row.name}" in result.stdout.split("  Example:\n", 1)[1].split("Options:")[0]


@every
def test_the_result_can_be_had_as_json(row: Row) -> None:
    assert "--json" in parameters(row.name)


@every
def test_an_unknown_flag_is_one_line(row: Row, armseg) -> None:
    assert_refused(armseg(row.name, "--xyzzy"), "no such option: --xyzzy")


@every
def test_a_missing_file_is_one_line(row: Row, armseg, tmp_path: Path) -> None:
    arguments = MISSING[row.name]
    if arguments is None:
        assert (
            not any(p.param_type_name == "argument" for p in parameters(row.name).values())
            or row.name == "simulate"
        )
        return
    assert_refused(armseg(row.name, *arguments, cwd=tmp_path), arguments[0], "no such")
    assert not list(tmp_path.iterdir())


@every
def test_a_former_flag_names_what_replaced_it(row: Row, armseg) -> None:
    for flag, instead in row.former.items():
        assert_refused(armseg(row.name, flag, "x"), f"no such option: {flag}. Try: {instead}")


def test_a_flag_means_the_same_everywhere() -> None:
    """A flag of several commands has one help text (most are kept in armseg_cli/options.py)."""
    texts: dict[str, dict[str, str]] = {}
    for row in COMMANDS:
        for flag, parameter in parameters(row.name).items():
            if parameter.param_type_name == "option" and flag != "--help":
                texts.setdefault(flag, {})[row.name] = parameter.help
    sensors = {"--size", "--frame"}  # a command's own flags with the name of a sensor's option
    different = {flag: found for flag, found in texts.items() if len(set(found.values())) > 1}
    assert set(different) <= sensors, different


@pytest.mark.parametrize("gone", ["--out", "--data", "--sensors", "--option"])
def test_former_flags_are_in_no_command(gone: str) -> None:
    assert [row.name for row in COMMANDS if gone in parameters(row.name)] == []
