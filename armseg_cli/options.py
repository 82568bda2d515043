"""Option types that several commands share: one spelling, one help text.

Sizes, durations and sensor names stay text here; the core parses them (`config.base.parse_size`,
`modalities.get_modality`) and raises a `UsageError` that names what was expected.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="PATH", help="Where the result goes.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
ModalityOption = Annotated[
    str | None,
    typer.Option(
        "--modality",
        "-m",
        metavar="SENSOR",
        help="event, thermal, depth, lidar, polarization or light_field (default: from the file).",
    ),
]
ModalitiesOption = Annotated[
    str | None,
    typer.Option(
        "--modalities",
        metavar="SENSOR,...",
        help="Sensors beside RGB, such as depth,thermal; all; rgb for none (default: all).",
    ),
]
SizeOption = Annotated[
    str | None, typer.Option("--size", metavar="WxH", help="Width x height in pixels, such as 640x480.")
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="auto (CUDA where there is one), cpu or cuda.")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Parallel processes (default: one per core).")
]
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", metavar="FOLDER", help="Model or run folder (default: the newest run in runs/)."),
]
