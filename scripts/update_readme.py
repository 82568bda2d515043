"""Write the table of formats into README.md from the code's own tables."""

from __future__ import annotations

import re
from pathlib import Path

from armseg_core.sensors.recognition import format_table


def main() -> None:
    path = Path(__file__).resolve().parent.parent / "README.md"
    text = path.read_text(encoding="utf-8")
    made, count = re.subn(
        r"(<!-- formats[^>]*-->\n).*?(<!-- /formats -->)",
        lambda m: m[1] + format_table() + m[2],
        text,
        flags=re.DOTALL,
    )
    if count != 1:
        raise SystemExit(f"{path}: the markers of the table of formats are missing")
    path.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
