"""Writes simulated scenes as a folder data set: one folder of raw files per scene, `dataset.toml`, splits."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import armseg_core
from armseg_core.errors import OutputError, UsageError
from armseg_core.modalities import get_modality
from armseg_core.simulate import classes as C
from armseg_core.simulate import sensors as render
from armseg_core.simulate import write
from armseg_core.simulate.scene import draw_scene

RAW_SENSORS = ("event", "thermal", "depth", "polarization", "light_field", "lidar")
SIMULATOR_VERSION = 1  # raised whenever the same seed gives other files
MIN_SIDE = 32


def simulate(out: Path, scenes: int, seed: int = 0, size: tuple[int, int] = (128, 160),
             sensors: Iterable[str] | None = None, workers: int = 1, progress: bool = True,
             splits: tuple[float, float, float] = (0.7, 0.1, 0.2), light_field_every: int = 1) -> None:
    """Write `scenes` simulated scenes with raw files of every sensor to the folder `out`.

    Scene i depends only on (seed, i), the size and the version of the simulator, not on the number of workers or
    scenes. Finished scenes with the same parameters are kept, so an interrupted run goes on where it stopped.

    Args:
        size: (H, W) of every image sensor, both even and at least 32.
        sensors: names of RAW_SENSORS; None = all. RGB and labels are always written.
        splits: shares of train, val, test; the scenes are cut in that order.
        light_field_every: keep every k-th of the 9 x 9 light-field views, counted from the centre (1, 2 or 4).

    Raises:
        UsageError: a parameter that cannot be right. OutputError: the folder cannot be written.
    """
    chosen = _check(scenes, size, sensors, workers, splits, light_field_every)
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        jobs = [(out, seed, i, size, chosen, light_field_every) for i in range(scenes)]
        _run(jobs, workers, progress)
        _write_description(out, seed, scenes, size, chosen, splits, light_field_every)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror or error}", where=error.filename or out,
                          hint="choose a folder that you may write to") from error


def scene_id(index: int) -> str:
    return f"scene_{index:05d}"


def _check(scenes, size, sensors, workers, splits, every) -> tuple[str, ...]:
    if scenes < 1:
        raise UsageError(f"{scenes} scenes", expected="at least 1", hint="--scenes 20")
    if min(size) < MIN_SIDE or size[0] % 2 or size[1] % 2:
        raise UsageError(f"size {size[1]}x{size[0]}", hint="--size 160x128",
                         expected=f"even width and height of at least {MIN_SIDE} (the polarization mosaic has 2x2 cells)")
    if workers < 1:
        raise UsageError(f"{workers} workers", expected="at least 1")
    if len(splits) != 3 or min(splits) < 0 or abs(sum(splits) - 1) > 1e-6:
        raise UsageError(f"splits {splits}", expected="three shares >= 0 that add up to 1")
    if every not in (1, 2, 4):
        raise UsageError(f"light_field_every {every}", expected="1 (9x9 views), 2 (5x5) or 4 (3x3)")
    names = [get_modality(name).name for name in (RAW_SENSORS if sensors is None else sensors)]
    return tuple(name for name in RAW_SENSORS if name in names)


def _run(jobs: list, workers: int, progress: bool) -> None:
    from tqdm import tqdm

    bar = tqdm(total=len(jobs), unit="scene", desc="simulate", disable=not progress)
    with bar:
        if workers == 1 or len(jobs) == 1:
            for job in jobs:
                _write_scene(*job)
                bar.update()
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_single_thread) as pool:
            try:
                for _ in pool.map(_write_job, jobs, chunksize=max(1, min(8, len(jobs) // (4 * workers)))):
                    bar.update()
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _single_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def _write_job(job: tuple) -> None:
    _write_scene(*job)


def _parameters(seed: int, index: int, size: tuple[int, int], chosen: tuple[str, ...], every: int) -> dict:
    return {"simulator_version": SIMULATOR_VERSION, "seed": seed, "index": index, "size": list(size),
            "sensors": list(chosen), "light_field_every": every}


def _is_whole(folder: Path, parameters: dict) -> bool:
    try:
        return json.loads((folder / "scene.json").read_text(encoding="utf-8"))["parameters"] == parameters
    except (OSError, ValueError, KeyError):
        return False


def _write_scene(out: Path, seed: int, index: int, size: tuple[int, int], chosen: tuple[str, ...], every: int) -> None:
    folder = out / scene_id(index)
    parameters = _parameters(seed, index, size, chosen, every)
    if _is_whole(folder, parameters):
        return
    temporary = out / f".{folder.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        _render_scene(temporary, parameters)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _render_scene(folder: Path, parameters: dict) -> None:
    seed, index, size = parameters["seed"], parameters["index"], tuple(parameters["size"])
    chosen, every = parameters["sensors"], parameters["light_field_every"]
    scene = draw_scene(seed, index, size)
    renderer = render.Renderer(scene)
    # one random stream per sensor: leaving a sensor out does not change the others
    rng = {name: np.random.default_rng([seed, index, k]) for k, name in enumerate(("rgb", *RAW_SENSORS), 1)}
    image, exposure = render.rgb(renderer, rng["rgb"])
    label = renderer.image(renderer.hits.labels())
    write.png(folder / "rgb.png", image)
    write.label_png(folder / "label.png", label)
    shares = np.bincount(label.ravel(), minlength=len(C.CLASSES)) / label.size
    write.text(folder / "caption.txt", C.caption_of(shares, scene.light.night) + "\n")
    t_offset = 50_000_000_000 + index * 1_000_000
    if "thermal" in chosen:
        write.tiff(folder / "thermal.tiff", render.thermal(renderer, rng["thermal"]))
    if "depth" in chosen:
        write.png(folder / "depth.png", render.depth(renderer, rng["depth"]))
    if "polarization" in chosen:
        write.png(folder / "polarization.png", render.polarization(renderer, rng["polarization"]))
    if "lidar" in chosen:
        (folder / "lidar.bin").write_bytes(render.lidar(renderer, rng["lidar"]).tobytes())
    if "event" in chosen:
        write.events_h5(folder / "events.h5", *render.events(renderer, rng["event"]), t_offset, size)
    if "light_field" in chosen:
        (folder / "light_field").mkdir()
        for (u, v), view in render.light_field(renderer, rng["light_field"], exposure, every).items():
            write.png(folder / "light_field" / f"{u}_{v}.png", view)
    write.write_json(folder / "calib.json", {
        "intrinsics": scene.camera.intrinsics.tolist(),
        "lidar_to_camera": render.lidar_pose(scene.camera)[1].tolist(), "size": list(size)})
    write.write_json(folder / "scene.json", _describe(scene, parameters, shares, t_offset))


def _describe(scene, parameters: dict, shares: np.ndarray, t_offset: int) -> dict:
    return {
        "parameters": parameters, "armseg_version": armseg_core.__version__,
        "label_time_us": t_offset + render.RECORDING_US, "night": scene.light.night,
        "ambient_celsius": round(scene.ambient, 2),
        "camera": {"focal_px": scene.camera.focal, "height_m": -float(scene.camera.position[1]),
                   "yaw_pitch_rad": list(scene.yaw_pitch), "velocity_m_s": scene.velocity.tolist(),
                   "light_field_baseline_m": render.baseline(scene.camera)},
        "objects": [{"class": C.NAMES[m.label], "kind": "car" if m.is_car else "person",
                     "position_m": [round(float(v), 3) for v in m.position], "heading_rad": round(m.heading, 4),
                     "speed_m_s": round(m.velocity, 3),
                     "celsius": {k: round(float(v), 2) for k, v in m.celsius.items()}} for m in scene.movers],
        "windows": scene.windows, "patches": scene.patches,
        "class_shares": {name: round(float(v), 5) for name, v in zip(C.NAMES, shares, strict=True)},
    }


_FILES = {
    "event": ("events.h5", 'window = "50ms"'), "thermal": ("thermal.tiff", ""),
    "depth": ("depth.png", 'depth_unit = "mm"'), "polarization": ("polarization.png", "bits = 12"),
    "light_field": ("light_field", ""), "lidar": ("lidar.bin", ""),
}


def _write_description(out: Path, seed: int, scenes: int, size, chosen, splits, every: int) -> None:
    lines = ["# Simulated street scenes (armseg simulate "
             f"--scenes {scenes} --seed {seed} --size {size[1]}x{size[0]}).",
             "format_version = 1", 'name = "simulated"', f"ignore_index = {C.IGNORE_INDEX}", ""]
    for c in C.CLASSES:
        lines += ["[[classes]]", f'name = "{c.name}"', f"color = {list(c.color)}",
                  "synonyms = " + json.dumps(list(c.synonyms)), ""]
    for part, file in (("rgb", "rgb.png"), ("label", "label.png"), ("caption", "caption.txt")):
        lines += [f"[{part}]", f'path = "{{id}}/{file}"', ""]
    for name in chosen:
        file, options = _FILES[name]
        if name == "light_field" and every > 1:
            lines += [f"# {9 // every + 1} x {9 // every + 1} views: every {every}nd/th row and column of the 9 x 9 grid"]
        lines += [f"[modalities.{name}]", f'path = "{{id}}/{file}"']
        lines += [f"options = {{ {options} }}", ""] if options else [""]
    lines += ["[splits]"] + [f'{split} = "splits/{split}.txt"' for split in ("train", "val", "test")]
    (out / "splits").mkdir(exist_ok=True)
    cuts = [round(scenes * splits[0]), round(scenes * (splits[0] + splits[1]))]
    for split, (a, b) in zip(("train", "val", "test"), ((0, cuts[0]), (cuts[0], cuts[1]), (cuts[1], scenes)),
                             strict=True):
        write.text(out / "splits" / f"{split}.txt", "".join(scene_id(i) + "\n" for i in range(a, b)))
    write.text(out / "dataset.toml", "\n".join(lines) + "\n")
