"""`armseg doctor`."""

from __future__ import annotations

import typer

from armseg_cli.console import print_next, print_table
from armseg_cli.options import JsonOption
from armseg_core.files.json_text import to_json


def command(as_json: JsonOption = False) -> None:
    """Check this installation by using it: packages, GPU, image and HDF5 codecs, optional extras, weights.

    Exit code 0: armseg can be used. 2: something it needs is broken; the last column says what to type.

    Example:
        armseg doctor
    """
    from armseg_core.environment import check_environment, is_usable

    checks = check_environment()
    usable = is_usable(checks)
    if as_json:
        typer.echo(to_json({"usable": usable, "checks": [check.to_dict() for check in checks]}, indent=2))
    else:
        print_table(
            ("", "what", "found", "what to do"),
            [(check.status, check.name, check.detail, check.fix) for check in checks],
        )
        broken = [check.name for check in checks if check.status == "broken"]
        if usable:
            typer.echo("armseg is ready to use.")
            print_next("armseg demo")
        else:
            typer.echo(f"broken: {', '.join(broken)}")
    raise typer.Exit(0 if usable else 2)
