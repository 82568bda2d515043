"""Label colors, legends, palette PNG files, charts and sample figures."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from armseg_core.errors import FormatError, OutputError, UsageError
from armseg_core.files.pictures import save_indexed_png, save_png
from armseg_core.sensors.drawing import sample_figure
from armseg_core.visualization import (
    IGNORE,
    color_bar,
    confusion_figure,
    distinct_palette,
    label_to_color,
    legend,
    overlay,
    stack,
    training_curves,
    with_legend,
)
from armseg_core.visualization.charts import _miou_series, smooth
from armseg_core.visualization.colors import color_table

PALETTE = [(10, 20, 30), (200, 0, 0), (0, 255, 7)]


def has_color(picture: np.ndarray, color: object) -> bool:
    return bool((picture == np.asarray(color, np.uint8)).all(-1).any())


def test_label_colors_are_the_palette_and_unknown_is_the_ignore_color() -> None:
    label = np.array([[0, 1], [2, 255], [3, -1]])
    picture = label_to_color(label, PALETTE)
    assert picture.dtype == np.uint8
    assert picture.reshape(-1, 3).tolist() == [list(c) for c in (*PALETTE, IGNORE, IGNORE, IGNORE)]


def test_a_palette_of_256_colors_has_a_color_for_255() -> None:
    palette = np.stack([np.arange(256)] * 3, -1)
    assert label_to_color(np.array([[255]], np.uint8), palette)[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("palette", [[(1, 2)], [], [(1.5, 2, 3)], [(300, 0, 0)], np.zeros((257, 3), int)])
def test_bad_palettes_are_refused(palette: object) -> None:
    with pytest.raises(UsageError):
        label_to_color(np.zeros((1, 1), int), palette)


def test_overlay_mixes_and_leaves_unknown_pixels_and_inputs_alone() -> None:
    rgb, label = np.full((1, 3, 3), 100, np.uint8), np.array([[0, 1, 255]])
    mixed = overlay(rgb, label, PALETTE, 0.25)
    assert mixed[0].tolist() == [[78, 80, 82], [125, 75, 75], [100, 100, 100]]
    assert (overlay(rgb, label, PALETTE, 0) == rgb).all()
    assert overlay(rgb, label, PALETTE, 1)[0, 1].tolist() == [200, 0, 0]
    assert (rgb == 100).all()
    with pytest.raises(UsageError, match="alpha"):
        overlay(rgb, label, PALETTE, 1.5)
    with pytest.raises(FormatError, match=r"\(1, 3, 3\)"):
        overlay(rgb[:, :2], label, PALETTE)


def test_legend_shows_each_class_color_and_grows_with_the_list() -> None:
    names = ["ground", "a class with a very long name that must be cut somewhere", "sky"]
    picture = legend(names, PALETTE, [0.5, 0.25, 0.25])
    assert all(has_color(picture, color) for color in PALETTE)
    assert picture.shape[1] < 400
    many = legend([f"c{i}" for i in range(40)], distinct_palette(40), max_height=200)
    assert many.shape[0] <= 200
    assert all(has_color(many, color) for color in distinct_palette(40))
    with pytest.raises(UsageError, match="3 names, 2 colors"):
        legend(names, PALETTE[:2])
    with_shares = with_legend(np.zeros((50, 60, 3), np.uint8), names, PALETTE, [0.5, 0.25, 0.25])
    assert all(has_color(with_shares, color) for color in PALETTE)
    assert with_shares.shape[1] > 480


def test_distinct_colors_differ_and_do_not_depend_on_the_count() -> None:
    colors = distinct_palette(60)
    assert len(np.unique(colors, axis=0)) == 60
    assert (distinct_palette(7) == colors[:7]).all()
    assert distinct_palette(0).shape == (0, 3)
    apart = np.abs(colors[:20, None].astype(int) - colors[None, :20]).sum(-1) + 999 * np.eye(20, dtype=int)
    assert apart.min() > 40


def test_indexed_png_keeps_values_and_palette_exactly(tmp_path: Path) -> None:
    label = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = tmp_path / "new" / "label.png"
    save_indexed_png(path, label, PALETTE)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert (np.asarray(image) == label).all()
        table = np.asarray(image.getpalette()).reshape(-1, 3)
        shown = np.asarray(image.convert("RGB"))
    assert table[:3].tolist() == [list(c) for c in PALETTE]
    assert table[255].tolist() == list(IGNORE)
    assert (shown[:, :, :][label < 3] == label_to_color(label, PALETTE)[label < 3]).all()
    assert os.listdir(path.parent) == ["label.png"]


@pytest.mark.parametrize("dtype", ["uint16", "int64", "float32"])
def test_labels_that_are_not_8_bit_are_refused_and_nothing_is_written(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(FormatError, match=f"{dtype}.*expected uint8"):
        save_indexed_png(tmp_path / "x.png", np.zeros((4, 4), dtype), PALETTE)
    with pytest.raises(FormatError):
        save_png(tmp_path / "x.png", np.zeros((4, 4, 3), dtype))
    with pytest.raises(FormatError):
        save_indexed_png(tmp_path / "x.png", np.zeros((4, 4, 3), np.uint8), PALETTE)
    assert not list(tmp_path.iterdir())


def test_png_round_trip_and_a_folder_in_the_way(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    save_png(tmp_path / "a.png", picture)
    with Image.open(tmp_path / "a.png") as image:
        assert (np.asarray(image) == picture).all()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError):
        save_png(tmp_path / "folder.png", picture)


def test_color_bar_runs_from_low_at_the_bottom_to_high_at_the_top() -> None:
    bar = color_bar(200, "viridis", 2, 40, "m", log=True)
    assert bar.shape[0] == 200
    column = bar[:, 7]
    inside = np.flatnonzero((column != 255).any(-1))
    assert column[inside[-1]].tolist() == color_table("viridis")[0].tolist()
    top = next(c for c in column if c.tolist() == color_table("viridis")[255].tolist())
    assert top is not None
    assert color_bar(60, "gray", 0, 1).shape[0] == 60


# -- charts


def test_confusion_figure_draws_shares_of_the_row() -> None:
    page = confusion_figure(np.array([[3, 1], [0, 0]]), ["seen", "absent"])
    table = color_table("blues")
    assert has_color(page, table[round(255 * 0.75)])
    assert has_color(page, table[round(255 * 0.25)])
    assert has_color(page, (240, 240, 240))  # the row of a class without labels
    with pytest.raises(FormatError, match=r"\(2, 3\)"):
        confusion_figure(np.zeros((2, 3)), ["a", "b"])


@pytest.mark.parametrize("classes", [1, 2, 11, 40, 90])
def test_confusion_figure_fits_any_number_of_classes(classes: int) -> None:
    matrix = np.zeros((classes, classes), np.int64)
    page = confusion_figure(matrix, [f"class {i}" for i in range(classes)])
    assert page.shape[1] >= 420
    assert page.shape[0] < 1800


def test_smoothing_starts_at_the_first_value_and_keeps_constants() -> None:
    assert smooth(np.full(50, 3.0)) == pytest.approx(3)
    assert smooth(np.array([5.0, 1.0]))[0] == pytest.approx(5)
    assert smooth(np.array([0.0, 1.0]), 0.5)[1] == pytest.approx(2 / 3)


def test_training_curves_draw_what_the_rows_hold() -> None:
    rows = [{"step": i, "loss": 1 / (i + 1), "lr": 1e-3} for i in range(50)]
    few = training_curves(rows)
    validations = [{"step": 25, "miou": 0.3, "miou_rgb_only": 0.2}, {"step": 49, "miou": 0.5}]
    more = training_curves([*rows, *validations])
    assert more.shape[0] > few.shape[0]
    line = (33, 113, 181)
    assert has_color(few, line)
    assert has_color(more, (214, 96, 24))  # the RGB-only line


def test_validation_has_a_line_for_each_choice_of_inputs_and_averages_the_data_sets() -> None:
    val = {"a": {"rgb": 0.2, "rgb+depth": 0.4}, "b": {"rgb": 0.4, "rgb+event": 0.9, "rgb+thermal": None}}
    rows = [{"step": step, "epoch": None, "miou": 0.5, "val": val} for step in (1, 2)]
    lines = {name: (x.tolist(), y.tolist()) for name, x, y in _miou_series(rows, "step")}
    assert list(lines) == ["rgb only", "rgb+depth", "rgb+event"]
    assert lines["rgb only"] == ([1, 2], pytest.approx([0.3, 0.3]))
    assert lines["rgb+depth"] == ([1, 2], [0.4, 0.4])
    assert lines["rgb+event"] == ([1, 2], [0.9, 0.9])
    assert has_color(training_curves(rows), (44, 140, 80))  # the third line


@pytest.mark.parametrize(
    "rows",
    [
        [{"step": 1, "loss": 0.5}],
        [{"epoch": 0, "miou": 0.1}],
        [{"step": 0, "loss": float("nan")}, {"step": 1, "loss": 0.0}, {"step": 2, "loss": None}],
        [{"step": i, "loss": 7.0} for i in range(30)],
    ],
)
def test_short_constant_and_broken_curves_render(rows: list[dict]) -> None:
    assert training_curves(rows).shape[1] >= 480


def test_curves_without_numbers_are_one_clear_error() -> None:
    with pytest.raises(FormatError):
        training_curves([{"note": "started"}])
    with pytest.raises(FormatError):
        training_curves([])


def test_stacked_pages_keep_their_pixels() -> None:
    a, b = np.zeros((2, 3, 3), np.uint8), np.full((1, 5, 3), 9, np.uint8)
    page = stack([a, b])
    assert page.shape == (3, 5, 3)
    assert (page[:2, :3] == 0).all()
    assert (page[:2, 3:] == 255).all()
    assert (page[2] == 9).all()


# -- samples


def sample(label: np.ndarray | None, **sensors: np.ndarray) -> SimpleNamespace:
    rgb = np.random.default_rng(0).random((3, 6, 8)).astype(np.float32)
    return SimpleNamespace(id="a/0001", rgb=rgb, label=label, sensors=sensors)


def test_sample_figure_shows_the_classes_that_occur() -> None:
    label = np.zeros((6, 8), np.int64)
    label[2:], label[5:] = 2, 255
    event, thermal = np.ones((5, 6, 8), np.float32), np.zeros((1, 6, 8), np.float32)
    page = sample_figure(sample(label, event=event, thermal=thermal), ["a", "b", "c"], PALETTE)
    assert has_color(page, PALETTE[0])
    assert has_color(page, PALETTE[2])
    assert not has_color(page, PALETTE[1])
    assert has_color(page, IGNORE)


def test_sample_figure_without_label_sensors_or_names() -> None:
    assert sample_figure(sample(None)).shape[1] >= 480
    assert sample_figure(sample(np.full((6, 8), 255))).shape[1] >= 480
    page = sample_figure(sample(np.full((6, 8), 4)))
    assert has_color(page, distinct_palette(5)[4])
