"""Writes simulated scenes as a folder data set: one folder of raw files per scene, `dataset.toml`, splits."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import armseg_core
from armseg_core import advice
from armseg_core.errors import OutputError, UsageError
from armseg_core.files.atomic import atomic_folder
from armseg_core.files.hashing import files_below, sha256_of
from armseg_core.files.json_text import to_json
from armseg_core.files.ownership import EMPTY_SEAL, check_free, copy_entry, entries_below, is_sealed
from armseg_core.files.pictures import write_png, write_tiff
from armseg_core.sensors.modalities import get_modality
from armseg_core.simulate import classes as C
from armseg_core.simulate import sensors as render
from armseg_core.simulate import write
from armseg_core.simulate.layout import draw_scene
from armseg_core.simulate.scene import Scene

SIMULATOR_VERSION = 3  # raised whenever the same seed gives other files
MIN_SIDE = 32  # pixels: in smaller pictures no object is left
SPLITS = ("train", "val", "test")
# sensor -> raw file, its options in dataset.toml
RAW_FILES = {
    "event": ("events.h5", 'window = "50ms"'),
    "thermal": ("thermal.tiff", ""),
    "depth": ("depth.png", 'depth_unit = "mm"'),
    "polarization": ("polarization.png", 'bits = 12, pattern = "90,45,135,0"'),
    "light_field": ("light_field", ""),
    "lidar": ("lidar.bin", ""),
}
RAW_SENSORS = tuple(RAW_FILES)


@dataclass(frozen=True)
class Recipe:
    """What decides the content of a scene's files, apart from its number."""

    seed: int
    size: tuple[int, int]
    sensors: tuple[str, ...]
    light_field_views: int

    def parameters(self, index: int) -> dict[str, Any]:
        """As written to scene.json."""
        return {
            "simulator_version": SIMULATOR_VERSION,
            "seed": self.seed,
            "index": index,
            "size": list(self.size),
            "sensors": list(self.sensors),
            "light_field_views": self.light_field_views,
        }


def simulate(
    out: Path,
    scenes: int,
    seed: int = 0,
    size: tuple[int, int] = (128, 160),
    sensors: Iterable[str] | None = None,
    workers: int = 1,
    progress: bool = True,
    splits: tuple[float, float, float] = (0.7, 0.15, 0.15),
    light_field_views: int = 9,
    force: bool = False,
) -> None:
    """Write `scenes` simulated scenes with raw files of every sensor to the folder `out`.

    Scene i depends only on (seed, i), the size and the version of the simulator, not on the number of workers
    or scenes. Finished scenes with the same parameters are kept: an interrupted run goes on where it stopped.

    Args:
        out: made where it does not exist.
        scenes: how many there are to be.
        seed: of the whole folder.
        size: (H, W) of every image sensor, both even and at least 32.
        sensors: names of RAW_SENSORS; None = all. RGB and labels are always written.
        workers: processes.
        progress: show a bar on stderr.
        splits: shares of train, val, test; the scenes are cut in that order.
        light_field_views: views per side of the light field, 3, 5, 7 or 9: the center of the 9 x 9 grid.
        force: replace files in the way that armseg did not make or that were changed since. Other files in
            the folder of a scene stay in any case.

    Raises:
        UsageError: a parameter that cannot be right. OutputError: the folder cannot be written, or a file
            that may not be replaced is in the way; then nothing was touched.
    """
    recipe = _check(scenes, seed, size, sensors, workers, splits, light_field_views)
    out = Path(out)
    try:
        lists = _splits(scenes, splits)
        _check_free(out, recipe, scenes, lists, force)
        out.mkdir(parents=True, exist_ok=True)
        _run(out, recipe, scenes, workers, progress)
        for name, text in lists.items():
            write.text(out / name, text)
        write.sealed_text(out / "dataset.toml", _description(recipe, scenes, lists))
    except OSError as error:
        raise OutputError(
            f"cannot write: {error.strerror or error}",
            where=error.filename or out,
            hint="choose a folder that you may write to",
        ) from error


def scene_id(index: int) -> str:
    """The id of scene number `index`, which names its folder."""
    return f"scene_{index:05d}"


def _check(
    scenes: int,
    seed: int,
    size: tuple[int, int],
    sensors: Iterable[str] | None,
    workers: int,
    splits: tuple[float, float, float],
    views: int,
) -> Recipe:
    if scenes < 1:
        raise UsageError(f"{scenes} scenes", expected="at least 1", hint="--scenes 20")
    if seed < 0:
        raise UsageError(f"seed {seed}", expected="0 or more")
    if min(size) < MIN_SIDE or size[0] % 2 or size[1] % 2:
        raise UsageError(
            f"size {size[1]}x{size[0]}",
            hint="--size 160x128",
            expected=f"even sides of at least {MIN_SIDE} (polarization mosaics have 2x2 cells)",
        )
    if workers < 1:
        raise UsageError(f"{workers} workers", expected="at least 1")
    if len(splits) != 3 or min(splits) < 0 or abs(sum(splits) - 1) > 1e-6:
        raise UsageError(f"splits {splits}", expected="three shares >= 0 that add up to 1")
    if views not in (3, 5, 7, 9):
        raise UsageError(f"{views} light-field views per side", expected="3, 5, 7 or 9")
    names = [get_modality(name).name for name in (RAW_SENSORS if sensors is None else sensors)]
    return Recipe(seed, (int(size[0]), int(size[1])), tuple(n for n in RAW_SENSORS if n in names), views)


def _run(out: Path, recipe: Recipe, scenes: int, workers: int, progress: bool) -> None:
    from tqdm import tqdm

    with tqdm(total=scenes, unit="scene", desc="simulate", disable=not progress) as bar:
        if workers == 1 or scenes == 1:
            for index in range(scenes):
                _write_scene(out, recipe, index)
                bar.update()
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, scenes), mp_context=context, initializer=_one_thread) as pool:
            try:
                jobs = [pool.submit(_write_scene, out, recipe, index) for index in range(scenes)]
                for job in jobs:
                    job.result()
                    bar.update()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def _is_whole(folder: Path, parameters: dict[str, Any]) -> bool:
    """scene.json is written last, so a folder that has it is whole."""
    try:
        recorded = json.loads((folder / "scene.json").read_text(encoding="utf-8"))["parameters"]
        return bool(recorded == parameters)
    except (OSError, ValueError, KeyError):
        return False


def _write_scene(out: Path, recipe: Recipe, index: int) -> None:
    folder, parameters = out / scene_id(index), recipe.parameters(index)
    if _is_whole(folder, parameters):
        return
    with atomic_folder(folder) as new:
        _render_scene(new, recipe, index)
        for file in entries_below(folder):
            kept = new / file.relative_to(folder)
            if not kept.exists() and not _is_own(file, folder):
                copy_entry(file, kept)


def _is_own(file: Path, folder: Path) -> bool:
    """Whether a file in the folder of a scene is as it was written with the scene."""
    record = folder / "scene.json"
    if not is_sealed(record):
        return False
    files = json.loads(record.read_text(encoding="utf-8"))["files"]
    return file == record or files.get(file.relative_to(folder).as_posix()) == sha256_of(file)


def _check_free(out: Path, recipe: Recipe, scenes: int, lists: dict[str, str], force: bool) -> None:
    """Raises OutputError where a file that may not be replaced is in the way."""
    elsewhere = "another folder"
    description = out / "dataset.toml"
    known = description.read_text(encoding="utf-8") if is_sealed(description) else ""

    def is_own_list(path: Path) -> bool:
        now = path.read_text(encoding="utf-8", errors="replace")
        return now == lists[f"splits/{path.name}"] or _list_line(path.stem, now) in known.splitlines()

    check_free([description], force=force, elsewhere=elsewhere)
    check_free([out / name for name in lists], force=force, ours=is_own_list, elsewhere=elsewhere)
    for index in range(scenes):
        folder = out / scene_id(index)
        if folder.is_dir() and not _is_whole(folder, recipe.parameters(index)):
            ours = partial(_is_own, folder=folder)
            check_free([] if force else entries_below(folder), ours=ours, elsewhere=elsewhere)
        elif os.path.lexists(folder) and not folder.is_dir():
            raise OutputError("a file is in the way of a folder", where=folder, hint=elsewhere)


def _render_scene(folder: Path, recipe: Recipe, index: int) -> None:
    scene = draw_scene(recipe.seed, index, recipe.size)
    renderer = render.Renderer(scene)
    # one random stream per sensor: leaving a sensor out does not change the others
    rng = {
        name: np.random.default_rng([recipe.seed, index, k])
        for k, name in enumerate(("rgb", *RAW_SENSORS), 1)
    }
    image, exposure = render.rgb(renderer, rng["rgb"])
    label = renderer.image(renderer.hits.labels())
    write_png(folder / "rgb.png", image)
    write.label_png(folder / "label.png", label)
    shares = np.bincount(label.ravel(), minlength=len(C.CLASSES)) / label.size
    write.text(folder / "caption.txt", C.caption_of(shares, scene.light.night) + "\n")
    t_offset = 50_000_000_000 + index * 1_000_000
    if "thermal" in recipe.sensors:
        write_tiff(folder / "thermal.tiff", render.thermal(renderer, rng["thermal"]))
    if "depth" in recipe.sensors:
        write_png(folder / "depth.png", render.depth(renderer, rng["depth"]))
    if "polarization" in recipe.sensors:
        write_png(folder / "polarization.png", render.polarization(renderer, rng["polarization"]))
    if "lidar" in recipe.sensors:
        (folder / "lidar.bin").write_bytes(render.lidar(renderer, rng["lidar"]).tobytes())
    if "event" in recipe.sensors:
        write.events_h5(folder / "events.h5", *render.events(renderer, rng["event"]), t_offset, recipe.size)
    if "light_field" in recipe.sensors:
        (folder / "light_field").mkdir()
        views = render.light_field(renderer, rng["light_field"], exposure, recipe.light_field_views)
        for (u, v), view in views.items():
            write_png(folder / "light_field" / f"{u}_{v}.png", view)
    write.write_json(
        folder / "calib.json",
        {
            "intrinsics": scene.camera.intrinsics.tolist(),
            "lidar_to_camera": render.lidar_pose(scene.camera)[1].tolist(),
            "size": list(recipe.size),
        },
    )
    files = {file.relative_to(folder).as_posix(): sha256_of(file) for file in files_below(folder)}
    description = {"seal": EMPTY_SEAL, **_describe(scene, recipe, shares, t_offset), "files": files}
    write.sealed_text(folder / "scene.json", to_json(description, indent=1) + "\n")


def _describe(scene: Scene, recipe: Recipe, shares: np.ndarray, t_offset: int) -> dict[str, Any]:
    return {
        "parameters": recipe.parameters(scene.index),
        "armseg_version": armseg_core.__version__,
        "label_time_us": t_offset + render.RECORDING_US,
        "night": scene.light.night,
        "ambient_celsius": round(scene.ambient, 2),
        "camera": {
            "focal_px": scene.camera.focal,
            "height_m": -float(scene.camera.position[1]),
            "yaw_pitch_rad": list(scene.yaw_pitch),
            "velocity_m_s": scene.velocity.tolist(),
            "light_field_baseline_m": render.baseline(scene.camera),
        },
        "objects": [
            {
                "class": C.NAMES[m.label],
                "kind": "car" if m.is_car else "person",
                "position_m": [round(float(v), 3) for v in m.position],
                "heading_rad": round(m.heading, 4),
                "speed_m_s": round(m.velocity, 3),
                "celsius": {k: round(v, 2) for k, v in m.celsius.items()},
            }
            for m in scene.movers
        ],
        "windows": scene.windows,
        "patches": scene.patches,
        "class_shares": {name: round(float(v), 5) for name, v in zip(C.NAMES, shares, strict=True)},
    }


def _splits(scenes: int, splits: tuple[float, float, float]) -> dict[str, str]:
    """The scenes cut into consecutive parts: file name -> its text.

    No wanted split stays empty where there are scenes enough.
    """
    least = 1 if scenes >= sum(share > 0 for share in splits) else 0
    sizes = [max(round(scenes * share), least) if share > 0 else 0 for share in splits]
    sizes[splits.index(max(splits))] += scenes - sum(sizes)  # the largest split takes what rounding left
    lists, first = {}, 0
    for name, count in zip(SPLITS, sizes, strict=True):
        lists[f"splits/{name}.txt"] = "".join(scene_id(first + i) + "\n" for i in range(count))
        first += count
    return lists


def _list_line(split: str, text: str) -> str:
    """The line of dataset.toml for a list of ids, which records what was written to it."""
    return f'{split} = "splits/{split}.txt"  # sha256 {hashlib.sha256(text.encode()).hexdigest()}'


def _description(recipe: Recipe, scenes: int, lists: dict[str, str]) -> str:
    """The text of dataset.toml, its seal empty."""
    size = f"{recipe.size[1]}x{recipe.size[0]}"
    flags = ("--scenes", scenes, "--seed", recipe.seed, "--size", size)
    command = advice.command("simulate", "OUT", *flags, "--light-field-views", recipe.light_field_views)
    lines = [
        f"# Simulated streets: {command}",
        f"# {EMPTY_SEAL}",
        "format_version = 1",
        'name = "simulated"',
        f"ignore_index = {C.IGNORE_INDEX}",
        "",
    ]
    for c in C.CLASSES:
        lines += [
            "[[classes]]",
            f'name = "{c.name}"',
            f"color = {list(c.color)}",
            f"synonyms = {to_json(list(c.synonyms))}",
            "",
        ]
    for part, file in (("rgb", "rgb.png"), ("label", "label.png"), ("caption", "caption.txt")):
        lines += [f"[{part}]", f'path = "{{id}}/{file}"', ""]
    for name in recipe.sensors:
        file, options = RAW_FILES[name]
        lines += [f"[modalities.{name}]", f'path = "{{id}}/{file}"']
        lines += [f"options = {{ {options} }}", ""] if options else [""]
    lines += ["[splits]", *(_list_line(name, lists[f"splits/{name}.txt"]) for name in SPLITS)]
    return "\n".join(lines) + "\n"
