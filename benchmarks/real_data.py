"""The labelled real sets as armseg data sets: a folder of links to their files, with a dataset.toml and a val split.

The files themselves are no part of the project. What is known of each set stands in `real_sets/<task>.toml`.

    python benchmarks/real_data.py SHARED/data/labelled TARGET        # TARGET/<task>, for `armseg check` and others
"""

from __future__ import annotations

import sys
from pathlib import Path

DECLARED = Path(__file__).parent / "real_sets"
# task -> folder of its set; two tasks of one set differ in the label
FOLDERS = {
    "crack": "crack_rgb_thermal_depth",
    "water": "water_rgb_nir_swir_dem",
    "landcover": "water_rgb_nir_swir_dem",
    "flood": "flood_rgb_sar",
    "potholes": "potholes",
    "furrow": "furrow_rgb_depth",
    "pipe": "pipe_rgb_depth",
    "salient": "salient_rgb_thermal",
}
VAL_SHARE = 0.2  # the last of the training ids: neighboring numbers are alike, so a random share would leak


def link_set(task: str, labelled: Path, target: Path) -> Path:
    """Make the data set of a task and return its folder, target/task; what is there is kept up to date.

    labelled: the folder that holds the sets.
    """
    source, folder = labelled.resolve() / FOLDERS[task], target / task
    (folder / "splits").mkdir(parents=True, exist_ok=True)
    for part in sorted(source.iterdir()):
        if part.is_dir() and part.name != "splits" and not (folder / part.name).is_symlink():
            (folder / part.name).symlink_to(part, target_is_directory=True)
    ids = (source / "splits" / "train.txt").read_text().split()
    kept = len(ids) - max(1, round(VAL_SHARE * len(ids)))
    parts = {
        "train": ids[:kept],
        "val": ids[kept:],
        "test": (source / "splits" / "test.txt").read_text().split(),
    }
    for split, names in parts.items():
        (folder / "splits" / f"{split}.txt").write_text("\n".join(names) + "\n")
    (folder / "dataset.toml").write_text((DECLARED / f"{task}.toml").read_text())
    return folder


if __name__ == "__main__":
    for name in FOLDERS:
        print(link_set(name, Path(sys.argv[1]), Path(sys.argv[2])))
