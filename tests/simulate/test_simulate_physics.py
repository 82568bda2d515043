"""The simulator's physics against independent truth, and its promise: RGB cannot tell the pairs apart."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from armseg_core.simulate import classes as C
from armseg_core.simulate import sensors as render
from armseg_core.simulate.camera import Camera, rotation
from armseg_core.simulate.layout import draw_scene
from armseg_core.simulate.objects import add_person, draw_person, heading_axes, polyhedron
from armseg_core.simulate.raycast import Capsule, Ellipsoid, Panel, Shape, cast
from armseg_core.simulate.scene import Light, Scene
from armseg_core.simulate.sensors import Renderer
from armseg_core.simulate.world import LOOK, Surface

H, W = 48, 64
EYE = np.array([0.0, -1.5, 0.0])


def camera(
    focal: float = 60.0, yaw: float = 0.0, pitch: float = 0.0, size: tuple[int, int] = (H, W)
) -> Camera:
    return Camera(size, focal, EYE, rotation(yaw, pitch))


def empty_scene(view: Camera, night: bool = False) -> Scene:
    light = Light(
        night,
        np.full(3, 0.5),
        np.full(3, 0.5),
        np.array([0.0, -0.8, -0.6]),
        np.zeros(3),
        np.array([0.0, -5.0, 5.0]),
        np.full(3, 0.9),
        np.full(3, 0.5),
        0.5,
        0.9,
    )
    scene = Scene(0, 0, view, (0.0, 0.0), np.zeros(3), np.zeros(2), light, 15.0, 5.0)
    scene.static.add(
        Surface(C.GROUND, (0.2, 0.2, 0.2), (0.4, 0.4, 0.4), "asphalt", celsius=15.0),
        np.zeros(3),
        [[1, 0, 0], [0, 0, 1]],
    )
    return scene


def add_panel(scene: Scene, surface: Surface, center, half_u, half_v) -> None:
    row = scene.static.add(surface, np.zeros(3), [[1, 0, 0], [0, 1, 0]])
    scene.static.shapes.append(
        Panel((row,), np.array(center, float), np.array(half_u, float), np.array(half_v, float))
    )


# --- geometry


def march(distance, view: Camera, size: tuple[int, int]) -> np.ndarray:
    """Depth image (H, W) by stepping along every ray until `distance(points)` vanishes; inf where it never
    does."""
    h, w = size
    x, y = np.meshgrid((np.arange(w) - (w - 1) / 2) / view.focal, (np.arange(h) - (h - 1) / 2) / view.focal)
    d = np.stack([x, y, np.ones_like(x)], -1) @ view.to_world.T
    z = np.zeros((h, w))
    for _ in range(400):
        z += distance(EYE + z[..., None] * d) / np.linalg.norm(d, axis=-1)
    return np.where((z < 40) & (np.abs(distance(EYE + z[..., None] * d)) < 1e-4), z, np.inf)


def box_distance(half, axes, center):
    def distance(p):
        q = np.abs((p - center) @ axes.T) - half
        return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0)

    return distance


def capsule_distance(a, b, radius):
    def distance(p):
        t = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        return np.linalg.norm(p - a - t[..., None] * (b - a), axis=-1) - radius

    return distance


AXES = heading_axes(0.5)
BOX_AT = np.array([0.3, -1.2, 6.0])
A, B = np.array([-0.8, -0.4, 5.0]), np.array([0.5, -2.4, 6.0])
BODIES = {
    "sphere": (
        Ellipsoid((0,), np.array([0.2, -1.4, 5.0]), np.ones(3), np.eye(3)),
        lambda p: np.linalg.norm(p - [0.2, -1.4, 5.0], axis=-1) - 1,
    ),
    "box": (
        polyhedron(
            (0,),
            [
                (
                    (s if k == 0 else 0, s if k == 1 else 0, s if k == 2 else 0),
                    (s * 1.2 if k == 0 else 0, s * 0.7 if k == 1 else 0, s * 0.5 if k == 2 else 0),
                )
                for k, s in ((0, 1), (0, -1), (1, -1), (1, 1), (2, 1), (2, -1))
            ],
            AXES,
            BOX_AT,
        ),
        box_distance(np.array([1.2, 0.7, 0.5]), AXES, BOX_AT),
    ),
    "capsule": (Capsule((0,), A, B, 0.4), capsule_distance(A, B, 0.4)),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (0.15, 0.1)])
def test_depth_equals_ray_marching(name: str, yaw: float, pitch: float) -> None:
    body, distance = BODIES[name]
    view = camera(yaw=yaw, pitch=pitch)
    z = cast([body], view, EYE[None], ground=False)[0][0]
    truth = march(distance, view, (H, W))
    both = np.isfinite(z) & np.isfinite(truth)
    assert both.sum() > 100
    np.testing.assert_allclose(z[both], truth[both], rtol=2e-3)
    assert (np.isfinite(z) != np.isfinite(truth)).sum() <= 4  # rays that graze the outline


def test_sphere_and_ground_have_the_analytic_depth() -> None:
    view = camera(size=(49, 65))  # odd: the middle pixel looks straight ahead
    sphere = Ellipsoid((0,), np.array([0.0, -1.5, 5.0]), np.full(3, 0.5), np.eye(3))
    z, number = cast([sphere], view, EYE[None])
    assert z[0, 24, 32] == pytest.approx(4.5, abs=1e-4)
    for row in range(32, 49):
        assert number[0, row, 0] == 0
        assert z[0, row, 0] == pytest.approx(1.5 * 60 / (row - 24), rel=1e-4)
    assert (number[0, :24, 0] == -1).all()  # sky above the horizon


def test_several_positions_at_once_equal_one_by_one() -> None:
    shapes: list[Shape] = [body for body, _ in BODIES.values()]
    origins = EYE + np.array([[0, 0, 0], [0.3, 0, 0], [0, -0.2, 0.1]])
    z, number = cast(shapes, camera(), origins)
    for k, origin in enumerate(origins):
        alone = cast(shapes, camera(), origin[None])
        np.testing.assert_array_equal(number[k], alone[1][0])
        np.testing.assert_allclose(z[k], alone[0][0], rtol=1e-5)


def test_nearer_shapes_hide_farther_ones() -> None:
    near = Panel((0,), np.array([0, -1.5, 3.0]), np.array([0.5, 0, 0]), np.array([0, 0.5, 0]))
    far = Panel((0,), np.array([0, -1.5, 6.0]), np.array([2.0, 0, 0]), np.array([0, 2.0, 0]))
    for shapes in ([near, far], [far, near]):
        z = cast(shapes, camera(), EYE[None], ground=False)[0][0]
        assert z[H // 2, W // 2] == pytest.approx(3.0, rel=1e-5)
        assert z[H // 2, W // 2 + 14] == pytest.approx(6.0, rel=1e-5)


def test_normals_face_the_viewer_from_everywhere() -> None:
    scene = empty_scene(camera())
    add_person(
        scene.static,
        draw_person(np.random.default_rng(0)),
        np.array([0, 0, 7.0]),
        0.0,
        1.0,
        C.PERSON,
        {"skin": 34.0, "cloth": 31.0, "hair": 30.0},
    )
    r = Renderer(scene)
    for shift in np.random.default_rng(0).uniform(
        -1, 1, (200, 3)
    ):  # a first pixel that grazes an outline is rare
        hits = render.Hits(r.stage, r.camera, (EYE + shift * (1, 0.5, 1))[None])
        for segment in hits.segments:
            assert (segment.normal * hits.ray[:, segment.part]).sum(0).max() < 2e-3


# --- depth camera


def test_depth_is_the_distance_within_its_noise_and_lost_beyond_its_limit() -> None:
    scene = empty_scene(camera())
    add_panel(scene, Surface(C.BUILDING, (0.4, 0.4, 0.4)), (-1.5, -1.5, 4.0), (1.4, 0, 0), (0, 1.4, 0))
    add_panel(scene, Surface(C.BUILDING, (0.4, 0.4, 0.4)), (8, -1.5, 45.0), (8, 0, 0), (0, 8, 0))
    meters = render.depth(Renderer(scene), np.random.default_rng(0)) / 1000
    near = meters[18:30, 2:26]
    assert np.median(near[near > 0]) == pytest.approx(4.0, abs=0.01)
    assert near[near > 0].std() < 0.05
    assert (near == 0).mean() < 0.03
    assert (meters[10:20, 36:60] == 0).all()


def test_depth_of_an_opening_is_the_room_behind_it() -> None:
    for behind in (0.0, 3.0):
        scene = empty_scene(camera())
        label = C.OPENING if behind else C.GLASS
        add_panel(
            scene,
            Surface(label, (0.1, 0.1, 0.1), kind=LOOK, behind=behind),
            (0, -1.5, 5),
            (2, 0, 0),
            (0, 1, 0),
        )
        meters = render.depth(Renderer(scene), np.random.default_rng(0)) / 1000
        middle = meters[20:28, 24:40]
        assert np.median(middle[middle > 0]) == pytest.approx(5 + behind, abs=0.05)


# --- light field


def test_disparity_is_baseline_times_focal_length_over_depth() -> None:
    scene = empty_scene(camera())
    wall = Surface(C.BUILDING, (0.1, 0.2, 0.3), (0.8, 0.7, 0.6), "dirt", 60.0, 0.9)
    depth = 3.0
    add_panel(scene, wall, (0, -1.5, depth), (4, 0, 0), (0, 4, 0))
    r = Renderer(scene)
    disparity = render.baseline(r.camera) * r.camera.focal / depth
    assert disparity == pytest.approx(2.0)
    views = render.light_field(r, np.random.default_rng(0), render.Exposure(1.0, 0, 0), side=5)
    middle = views[3, 3].astype(float)
    assert middle.std() > 10
    right, down = views[3, 4].astype(float), views[4, 3].astype(float)
    assert (
        np.abs(right[:, :-2] - middle[:, 2:]).mean() < 1.0
    )  # the scene moves left when the camera moves right
    assert np.abs(down[:-2] - middle[2:]).mean() < 1.0
    assert np.abs(right - middle).mean() > 4.0
    far = views[3, 5].astype(float)
    assert np.abs(far[:, :-4] - middle[:, 4:]).mean() < 1.0


def test_the_middle_view_is_the_rgb_view() -> None:
    r = Renderer(draw_scene(3, 0, (H, W)))
    image, exposure = render.rgb(r, np.random.default_rng(0))
    views = render.light_field(r, np.random.default_rng(0), exposure, side=5)
    gray = image.astype(float).mean(-1)
    score = {at: np.corrcoef(gray.ravel(), view.mean(-1).ravel())[0, 1] for at, view in views.items()}
    assert max(score, key=lambda at: score[at]) == (3, 3)


# --- polarization


def test_fresnel_equations() -> None:
    angle = np.radians(np.linspace(1, 85, 50))
    index = 1.52
    rs, rp = render.fresnel(np.cos(angle), index)
    inside = np.arcsin(np.sin(angle) / index)  # Snell; Hecht, Optics, section 4.6
    np.testing.assert_allclose(rs, (np.sin(angle - inside) / np.sin(angle + inside)) ** 2, rtol=1e-6)
    np.testing.assert_allclose(
        rp, (np.tan(angle - inside) / np.tan(angle + inside)) ** 2, rtol=1e-5, atol=1e-9
    )
    assert render.fresnel(np.cos(np.arctan(index)), index)[1] == pytest.approx(0, abs=1e-12)  # Brewster


def decode(mosaic: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mosaic with cells (90 45 / 135 0) -> S0, S1, S2 per cell, one value per 2 x 2 cell."""
    i90, i45, i135, i0 = (mosaic[a::2, b::2].astype(float) for a in (0, 1) for b in (0, 1))
    return (i0 + i45 + i90 + i135) / 2, i0 - i90, i45 - i135


def test_the_mosaic_gives_back_what_a_pane_reflects() -> None:
    view = camera(size=(64, 64))
    scene = empty_scene(view)
    turn = np.radians(50)  # the pane's normal is 50 degrees from the view direction, to the left
    u = np.array([np.cos(turn), 0, np.sin(turn)])
    pane = Surface(
        C.GLASS, (0.25, 0.25, 0.25), (0.25, 0.25, 0.25), contrast=0.0, index=1.52, mirror=1.0, kind=LOOK
    )
    add_panel(scene, pane, (0, -1.5, 5), 8 * u, (0, 4, 0))
    s0, s1, s2 = decode(render.polarization(Renderer(scene), np.random.default_rng(0)))
    cell = np.s_[14:18, 15:17]  # around the optical axis
    dolp = np.hypot(s1, s2)[cell].mean() / s0[cell].mean()
    aolp = 0.5 * np.degrees(np.arctan2(s2[cell].mean(), s1[cell].mean()))
    inside = np.arcsin(np.sin(turn) / 1.52)
    rs = (np.sin(turn - inside) / np.sin(turn + inside)) ** 2
    rp = (np.tan(turn - inside) / np.tan(turn + inside)) ** 2
    body = 0.25 * 0.5 * 0.75  # albedo times ambient light on an upright surface
    mirrored = 0.5 * (rs + rp) * 0.9
    expected = (mirrored * (rs - rp) / (rs + rp) - 0.05 * np.sin(turn) ** 2 * (body - mirrored)) / body
    assert mirrored < 0.85 * body
    assert dolp == pytest.approx(expected, abs=0.02)
    assert abs(abs(aolp) - 90) < 2  # upright pane: perpendicular to the horizontal plane of incidence


def test_water_is_polarized_horizontally_and_asphalt_hardly() -> None:
    for index, low, high in ((1.33, 0.25, 1.0), (0.0, 0.0, 0.08)):
        scene = empty_scene(camera(pitch=0.15))
        wet = Surface(
            C.WATER if index else C.DARK_PATCH,
            (0.05, 0.05, 0.05),
            (0.05, 0.05, 0.05),
            contrast=0.0,
            index=index,
            kind=LOOK,
        )
        add_panel(scene, wet, (0, -0.001, 5), (3, 0, 0), (0, 0, 2))
        s0, s1, s2 = decode(render.polarization(Renderer(scene), np.random.default_rng(0)))
        cell = np.s_[15:18, 12:20]
        assert low <= np.hypot(s1[cell].mean(), s2[cell].mean()) / s0[cell].mean() <= high
        if index:
            assert abs(0.5 * np.degrees(np.arctan2(s2[cell].mean(), s1[cell].mean()))) < 3


# --- thermal


def test_counts_are_the_temperature_of_a_person() -> None:
    scene = empty_scene(camera(focal=240, size=(192, 128)))
    warm = {"skin": 34.0, "cloth": 31.0, "hair": 30.0}
    look = draw_person(np.random.default_rng(0))
    add_person(scene.static, look, np.array([0, 0, 3.0]), 0.0, 0.0, C.PERSON, warm)
    r = Renderer(scene)
    celsius = render.thermal(r, np.random.default_rng(0)) * 0.01 - 273.15
    person = (r.image(r.hits.labels()) == C.PERSON).astype(np.uint8)
    inner = (
        cv2.erode(person, np.ones((5, 5), np.uint8)) == 1
    )  # the optics mix the outline with what is behind
    # emissivity 0.98 mixes in 2 percent of a sky of 5 degrees
    assert np.median(celsius[inner]) == pytest.approx(31 - 0.02 * 26, abs=0.3)
    assert celsius[inner].max() == pytest.approx(34 - 0.02 * 29, abs=0.8)
    assert np.median(celsius[180:, :20]) == pytest.approx(15 - 0.05 * 10, abs=0.3)


# --- events


def test_a_ramp_of_log_intensity_fires_at_every_threshold() -> None:
    reference = np.zeros((1, 1), np.float32)
    start, end, step = np.zeros((1, 1)), np.full((1, 1), 1.05), np.full((1, 1), 0.2)
    x, y, t, p = render._crossings(start, end, reference, step, 1000.0, 3100.0)
    assert t.tolist() == [1400, 1800, 2200, 2600, 3000]
    assert p.tolist() == [True] * 5
    assert set(x) == set(y) == {0}
    assert reference[0, 0] == pytest.approx(1.0)
    *_, t, p = render._crossings(end, end - 0.5, reference, step, 3100.0, 4100.0)
    assert t.tolist() == [pytest.approx(3100 + 500, abs=1), pytest.approx(3100 + 900, abs=1)]
    assert p.tolist() == [False, False]


def test_events_add_up_to_the_change_of_log_intensity(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = draw_scene(5, 1, (H, W))
    monkeypatch.setattr(render, "_noise_events", lambda *_: tuple(np.zeros(0, int) for _ in range(4)))
    r = Renderer(scene)
    x, y, t, p = render.events(r, np.random.default_rng(0))
    assert (np.diff(t.astype(int)) >= 0).all()
    total = np.zeros((H, W))
    np.add.at(total, (y, x), np.where(p == 1, 1.0, -1.0))
    levels = []
    for tau in (-0.1, 0.0):
        view = scene.camera_at(tau)
        hits = render.Hits(r.stage_at(tau), view, view.position[None])
        levels.append(
            np.log(
                hits.unsort(render.LUMINANCE @ hits.radiance())[0] + (0.004 if scene.light.night else 0.01)
            )
        )
    change = (levels[1] - levels[0]) / render.CONTRAST
    assert np.abs(total).max() > 3
    # one threshold either way, and the thresholds of the pixels differ by 8 percent
    assert np.percentile(np.abs(total - change) - 0.3 * np.abs(change), 99) < 1.6


# --- the promise: twins that only the right sensor can tell apart


def twins(scene_number: int, first: int, second: int):
    """A scene that has an object of class `first`, and the same scene with that object turned into
    `second`."""
    for number in range(scene_number, scene_number + 60):
        scene = draw_scene(21, number, (H, W))
        for k, m in enumerate(scene.movers):
            if m.label == first:
                other = draw_scene(21, number, (H, W))
                other.movers[k].label = second
                other.movers[k].velocity = 0.0
                a, b = Renderer(scene), Renderer(other)
                seen = a.image(a.hits.labels() == first) & b.image(b.hits.labels() == second)
                if seen.sum() > 40:
                    return a, b, seen
    raise AssertionError("no such scene")


@pytest.mark.parametrize(("first", "second"), [(C.PERSON, C.MANNEQUIN), (C.MOVING_CAR, C.PARKED_CAR)])
def test_a_still_twin_has_the_same_rgb(first: int, second: int) -> None:
    a, b, _ = twins(0, first, second)
    np.testing.assert_array_equal(a.fine_image(a.fine_radiance), b.fine_image(b.fine_radiance))


@pytest.mark.parametrize("real", [C.PARKED_CAR, C.MANNEQUIN])
def test_a_painted_twin_looks_the_same_and_is_flat(real: int) -> None:
    a, b, seen = twins(0, real, C.BILLBOARD)
    ra, rb = a.fine_image(a.fine_radiance), b.fine_image(b.fine_radiance)
    # the print is as fine as a third of a pixel, so its texture differs a little
    assert np.abs(ra - rb)[seen].mean() < 0.08 * ra[seen].mean()
    assert ra[seen].mean() == pytest.approx(rb[seen].mean(), rel=0.05)
    za, zb = a.image(a.hits.depth())[seen], b.image(b.hits.depth())[seen]
    assert zb.mean() < 0.98 * za.mean()


def sensor_statistics(number: int):
    """Per class: mean color, and the statistic of each deciding sensor, of one scene."""
    scene = draw_scene(77, number, (H, W))
    r, rng = Renderer(scene), np.random.default_rng(number)
    label = r.image(r.hits.labels())
    image = render.rgb(r, rng)[0].astype(float)
    stokes = r.fine_image(render.stokes(r, r.fine, render.LUMINANCE @ r.fine_radiance))
    fields = {
        "red": image[..., 0],
        "green": image[..., 1],
        "blue": image[..., 2],
        "thermal": render.thermal(r, rng) * 0.01 - 273.15 - scene.ambient,
        "polarization": np.hypot(stokes[..., 1], stokes[..., 2]) / stokes[..., 0],
        "depth": render.depth(r, rng) == 0,
    }
    if number < 35:
        x, y, *_ = render.events(r, rng)
        counts = np.zeros((H, W))
        np.add.at(counts, (y, x), 1)
        fields["event"] = counts > 0
    seen = {c: label == c for c in range(len(C.CLASSES)) if (label == c).sum() >= 30}
    # of a car only the faces at a slant shine: its most polarized tenth counts
    return {
        c: {
            name: np.percentile(field[mask], 90) if name == "polarization" else field[mask].mean()
            for name, field in fields.items()
        }
        for c, mask in seen.items()
    }


@pytest.fixture(scope="module")
def statistics() -> list[dict]:
    return [sensor_statistics(number) for number in range(70)]


def values(statistics: list[dict], label: int, name: str) -> np.ndarray:
    return np.array([scene[label][name] for scene in statistics if label in scene and name in scene[label]])


PAIRS = [(C.PERSON, C.MANNEQUIN), (C.MOVING_CAR, C.PARKED_CAR), (C.GLASS, C.OPENING), (C.WATER, C.DARK_PATCH)]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_the_colors_of_a_pair_agree(statistics: list[dict], first: int, second: int) -> None:
    for channel in ("red", "green", "blue"):
        a, b = values(statistics, first, channel), values(statistics, second, channel)
        error = np.hypot(a.std() / np.sqrt(len(a)), b.std() / np.sqrt(len(b)))
        assert abs(a.mean() - b.mean()) < 3.5 * error


@pytest.mark.parametrize(
    ("first", "second", "sensor"),
    [
        (C.PERSON, C.MANNEQUIN, "thermal"),
        (C.PERSON, C.MANNEQUIN, "event"),
        (C.MOVING_CAR, C.PARKED_CAR, "thermal"),
        (C.MOVING_CAR, C.PARKED_CAR, "event"),
        (C.GLASS, C.OPENING, "polarization"),
        (C.OPENING, C.GLASS, "thermal"),
        (C.WATER, C.DARK_PATCH, "polarization"),
        (C.WATER, C.DARK_PATCH, "event"),
        (C.DARK_PATCH, C.WATER, "thermal"),
        (C.WATER, C.DARK_PATCH, "depth"),
        (C.PARKED_CAR, C.BILLBOARD, "polarization"),
    ],
)
def test_the_right_sensor_tells_a_pair_apart(
    statistics: list[dict], first: int, second: int, sensor: str
) -> None:
    a, b = values(statistics, first, sensor), values(statistics, second, sensor)
    assert min(len(a), len(b)) >= 5
    area = (a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean()  # under the ROC curve
    assert area > 0.9


def test_every_class_occurs_often(statistics: list[dict]) -> None:
    for label, kind in enumerate(C.CLASSES):
        assert np.mean([label in scene for scene in statistics]) > 0.25, kind.name


def test_surfaces_can_be_swapped_without_changing_rgb() -> None:
    """A pane and an opening, and a puddle and a repair, have one look: only its carrier differs."""
    scene = draw_scene(4, 2, (H, W))
    before = Renderer(scene)
    other = draw_scene(4, 2, (H, W))
    for row, surface in enumerate(other.static.surfaces):
        if surface.kind == LOOK:
            other.static.surfaces[row] = replace(surface, behind=0.0 if surface.behind else 3.0)
    after = Renderer(other)
    a, b = before.fine_radiance, after.fine_radiance
    assert np.abs(a - b).max() < 0.1
    assert np.abs(a - b).mean() < 1e-3 * a.mean()
