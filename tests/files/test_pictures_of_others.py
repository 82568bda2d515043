"""Pictures, lists and tables as others write them: EXIF, PPM, 12 bits in 16, lists of paths, `%` lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_writer import png
from PIL import Image
from shared_data import shared

from armseg_core.conversion.convert import to_tensor
from armseg_core.conversion.inspection import inspect_file
from armseg_core.data import open_dataset
from armseg_core.data.folder import id_in_line
from armseg_core.errors import ArmsegWarning
from armseg_core.figures import make_figure
from armseg_core.files.pictures import read_rgb, to_unit
from armseg_core.sensors.sniffing import judge_by_name

RNG = np.random.default_rng(0)


# --- pictures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "greatest"), [(12, 4095), (12, 2000), (8, 255)])
def test_rgb_of_fewer_bits_in_sixteen_is_brought_to_the_whole_range(tmp_path: Path, bits, greatest) -> None:
    stored = RNG.integers(0, greatest + 1, (12, 16, 3)).astype(np.uint16)
    stored[0, 0] = greatest
    with pytest.warns(ArmsegWarning, match=rf"{bits} bits in 16 \(no value above {greatest}\)"):
        image = to_unit(read_rgb(png(tmp_path / "a.png", stored)))
    np.testing.assert_allclose(image, stored.transpose(2, 0, 1) / (2**bits - 1), atol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("greatest", [0, 4096, 65535])
def test_rgb_of_sixteen_bits_stays(tmp_path: Path, greatest: int) -> None:
    stored = np.full((12, 16, 3), greatest, np.uint16)
    np.testing.assert_array_equal(read_rgb(png(tmp_path / "a.png", stored)), stored)


def test_a_ppm_is_a_picture(tmp_path: Path) -> None:
    stored = RNG.integers(0, 255, (12, 16, 3)).astype(np.uint8)
    path = tmp_path / "photo.ppm"
    path.write_bytes(b"P6\n16 12\n255\n" + stored.tobytes())
    np.testing.assert_array_equal(read_rgb(path), stored)
    assert make_figure(path).what == "RGB picture"
    assert judge_by_name(path, ("light_field",)).other  # a photo, not a sensor's recording


def test_photo_and_sensor_of_one_phone_lie_on_each_other(tmp_path: Path) -> None:
    """EXIF orientation 6: what is stored at the top is seen at the right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:24, :, 0], rgb[24:, :, 2] = 200, 200
    Image.fromarray(rgb).save(tmp_path / "photo.jpg", exif=exif, quality=98)
    hot = np.where(np.arange(48)[:, None] < 24, 220, 40).repeat(64, 1).astype(np.uint8)
    Image.fromarray(hot).save(tmp_path / "thermal.jpg", exif=exif, quality=98)
    check_turned(tmp_path / "photo.jpg", tmp_path / "thermal.jpg")


def check_turned(photo: Path, thermal: Path) -> None:
    red = read_rgb(photo)[..., 0] > 128
    hot = to_tensor(thermal, modality="thermal").frames[0, 0] > 0.5
    assert red.shape == hot.shape
    middle = red.shape[1] // 2
    for side in (red, hot):
        assert side[:, middle + 4 :].all()
        assert not side[:, : middle - 4].any()


def test_case_of_a_phone() -> None:
    folder = shared("cases", "11_exif_orientation", "in")
    check_turned(folder / "photo.jpg", folder / "thermal.jpg")
    check_turned(folder / "photo_4x3.jpg", folder / "thermal_4x3.jpg")


# --- lists ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "template", "expected"),
    [
        ("RGB/0.jpg Label/0.png", "RGB/{id}.jpg", "0"),
        ("RGB/day/0.jpg\tLabel/day/0.png", "RGB/{id}.jpg", "day/0"),
        ("day/rgb/0.jpg", "{parent}/rgb/{stem}.jpg", "day/0"),
        ("scene 1", "rgb/{id}.png", "scene 1"),  # an id with a blank
        ("0", "RGB/{id}.jpg", "0"),
    ],
)
def test_the_id_in_a_line_of_a_list(line: str, template: str, expected: str) -> None:
    assert id_in_line(line, (template,)) == expected


def nyu(root: Path, depth: np.dtype) -> Path:
    for name in ("0", "1"):
        (root / "RGB").mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 255, (24, 32, 3)).astype(np.uint8)).save(root / f"RGB/{name}.jpg")
        png(root / f"Label/{name}.png", np.ones((24, 32), np.uint8))
        png(root / f"Depth/{name}.png", np.linspace(50, 200, 32)[None].repeat(24, 0).astype(depth))
    (root / "train.txt").write_text("RGB/0.jpg Label/0.png\nRGB/1.jpg Label/1.png\n")
    return root


def test_lists_of_paths_name_samples(tmp_path: Path) -> None:
    assert open_dataset(nyu(tmp_path / "nyu", np.uint16), "train").ids == ("0", "1")
    folder = nyu(tmp_path / "own", np.uint16)
    (folder / "dataset.toml").write_text(
        'format_version = 1\nname = "x"\nclasses = [{name = "a"}, {name = "b"}]\n'
        '[rgb]\npath = "RGB/{id}.jpg"\n[label]\npath = "Label/{id}.png"\n[splits]\ntrain = "train.txt"\n'
    )
    dataset = open_dataset(folder, "train")
    assert dataset.ids == ("0", "1")
    assert dataset.load(1).label is not None


def test_eight_bit_depth_of_a_public_data_set_is_relative(tmp_path: Path) -> None:
    dataset = open_dataset(nyu(tmp_path, np.uint8), "train")
    with pytest.warns(ArmsegWarning, match="8-bit depth has no unit"):
        meters, valid, inverse = dataset.load(0).sensors["depth"]
    assert not meters.any()
    assert valid.all()
    assert inverse[0, 0] > 0.99 > 0.01 > inverse[0, -1]


def test_case_of_a_list_with_paths() -> None:
    folder = shared("cases", "07_nyu_list_with_paths", "in", "NYUDepthv2")
    assert [len(open_dataset(folder, split)) for split in ("train", "test")] == [4, 2]
    assert open_dataset(folder, "train").ids[0] == "0"


# --- tables of events -------------------------------------------------------------------------------------


def test_a_table_whose_first_line_is_the_geometry_of_metavision(tmp_path: Path) -> None:
    rows = "".join(
        f"{x},{y},{p},{2_000_000 + 70 * i}\n"
        for i, (x, y, p) in enumerate(RNG.integers(0, (1280, 720, 2), (500, 3)))
    )
    path = tmp_path / "events.csv"
    for head in ("%geometry:1280,720\n", "% geometry 1280x720\n% x,y,p,t\n"):
        path.write_text(head + rows)
        report = inspect_file(path)
        assert (report["reader"], report["size"], report["events"]) == ("text", "1280x720", 500)


def test_case_of_percent_lines() -> None:
    report = inspect_file(shared("cases", "19_percent_csv", "in", "geometry.csv"))
    assert (report["size"], report["events"]) == ("1280x720", 3000)


def test_cases_with_a_byte_order_mark() -> None:
    folder = shared("cases", "13_lists_bom_crlf", "in")
    for name in ("events_bom.csv", "events_nohead_bom.csv"):
        assert inspect_file(folder / name, options={"sensor_size": "640x480"})["events"] == 2000
    for name in ("list_bom", "list_crlf", "backslash_ids"):
        assert len(open_dataset(folder / name, "train")) == 2


def test_what_is_said_of_many_files_takes_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    import warnings

    from armseg_cli.group import one_line_warnings

    with one_line_warnings():
        for number in range(50):
            warnings.warn(
                ArmsegWarning(f"rgb/{number}.png: 12 bits in 16 ({number} is the greatest)"), stacklevel=1
            )
        warnings.warn(ArmsegWarning("rgb/1.png: something else"), stacklevel=1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[3].startswith("warning: and the same of more files")
    assert lines[4] == "warning: rgb/1.png: something else"
