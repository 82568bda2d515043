"""How often `armseg predict` and one epoch of training open each of the user's files.

    python benchmarks/opens.py

Every successful open(2) of a file of the (copied) sample data is counted with strace; a file that is opened more than
once was decoded, hashed or looked at by more than one part of the program. Needs Linux and strace.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SCENE = "scene_00018"
SENSORS = {
    "event": "events.h5",
    "thermal": "thermal.tiff",
    "depth": "depth.png",
    "lidar": "lidar.bin",
    "polarization": "polarization.png",
    "light_field": "light_field",
}
TRAINING_SAMPLES = 15  # of the sample data: one epoch is that many steps of one image


def opens(arguments: list[str], folder: Path) -> Counter[str]:
    """Run `armseg arguments`; number of opens of each file below `folder`, by its path in it."""
    log = folder.parent / "strace.log"
    command = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-e",
        "trace=open,openat",
        "-o",
        str(log),
        sys.executable,
        "-m",
        "armseg_cli",
    ]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment, cwd=folder.parent
    )
    counts: Counter[str] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        found = re.search(r'open(?:at)?\((?:\S+, )?"([^"]+)", ([A-Z_|]+).*\) = (\d+)', line)
        path = folder.parent / found[1] if found else None
        if path and "O_DIRECTORY" not in found[2] and path.is_relative_to(folder) and path.is_file():
            counts[str(path.relative_to(folder))] += 1
    return counts


def summary(counts: Counter[str]) -> str:
    """Opens by file name (scenes and views put together): mean over the files of that name."""
    by_name: dict[str, list[int]] = {}
    for path, count in counts.items():
        name = re.sub(r"^\d+_\d+\.png$", "view", Path(path).name)
        by_name.setdefault(name, []).append(count)
    return ", ".join(f"{name} {sum(n) / len(n):g}" for name, n in sorted(by_name.items()))


def main() -> None:
    """Print the counts of `predict` for every sensor and of one epoch."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name, "data")
        shutil.copytree(REPOSITORY / "sample_data", data)
        out = ["--output", str(Path(name, "runs"))]
        model = ["--set", "eval_every=1000", "--batch-size", "1", "--workers", "0"]
        epoch = opens(
            ["train", str(data), *out, *model, "--steps", str(TRAINING_SAMPLES), "--name", "epoch"], data
        )
        run = str(Path(name, "runs", "epoch-001"))
        for sensor, file in SENSORS.items():
            counts = opens(
                [
                    "predict",
                    str(data / SCENE / "rgb.png"),
                    str(data / SCENE / file),
                    "--model",
                    run,
                    "-o",
                    str(Path(name, "out")),
                ],
                data,
            )
            print(f"predict {sensor}: {summary(counts)}", flush=True)
        print(f"train, one epoch of {TRAINING_SAMPLES} steps: {summary(epoch)}")


if __name__ == "__main__":
    main()
