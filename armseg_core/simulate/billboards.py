"""Cut-out standees: a flat panel that carries the perspective picture of a car or a person.

The picture is what the reference camera would see of the real thing at its place further back, shading and
the shadow on the road included (a trompe-l'oeil: the shadow is painted on the road). From the reference
camera the panel therefore looks exactly like the real thing; a sensor that measures distance, parallax,
polarization or heat sees a nearer flat sheet of paper.
"""

from __future__ import annotations

import numpy as np

from armseg_core.simulate import classes as C
from armseg_core.simulate.camera import Camera
from armseg_core.simulate.raycast import Cutout
from armseg_core.simulate.scene import Mover, Scene
from armseg_core.simulate.shading import Hits, Stage
from armseg_core.simulate.world import PRINT, Surface, World

# print resolution: samples per camera pixel and axis; finer than the 2 of the RGB image, so no print shows
SAMPLES = 3


def add_billboards(scene: Scene, world: World) -> None:
    """Add the panels of all billboards of the scene to a world (and the painted shadows to its casters)."""
    for mover in scene.movers:
        if mover.is_painted:
            _add_billboard(scene, world, mover)


def _add_billboard(scene: Scene, world: World, mover: Mover) -> None:
    ghost = World()
    mover.place(ghost, 0.0)
    camera = scene.camera.scaled(SAMPLES)
    corners = np.concatenate([s.corners for s in ghost.shapes])
    y0, y1, x0, x1 = camera.boxes(corners[None], camera.position[None])[0]
    if y0 >= y1 or x0 >= x1:
        return
    window = _Window(camera, y0, y1, x0, x1)
    hits = Hits(Stage(ghost, scene.light, scene.camera), window, camera.position[None], ground=False)
    image, mask = hits.unsort(hits.radiance())[0], hits.unsort(hits.z > 0)[0]
    if not mask.any():
        return
    # a plane that faces the camera up to `turn`, at `panel` times the distance of the nearest point
    nearest = float(hits.z[hits.z > 0].min()) * mover.panel
    r = camera.to_world
    middle_x = ((x0 + x1) / 2 - camera.cx) / camera.focal
    foot = camera.position + nearest * (r @ np.array([middle_x, 0.0, 1.0]))
    normal = r @ np.array([np.sin(mover.turn), 0.0, -np.cos(mover.turn)])
    u = r @ np.array([np.cos(mover.turn), 0.0, np.sin(mover.turn)])
    v = r[:, 1]
    edges = [
        [(x - camera.cx) / camera.focal, (y - camera.cy) / camera.focal, 1.0]
        for x in (x0 - 1, x1)
        for y in (y0 - 1, y1)
    ]
    rays = np.array(edges) @ r.T
    points = camera.position + rays * ((foot - camera.position) @ normal / (rays @ normal))[:, None]
    a, b = (points - foot) @ u, (points - foot) @ v
    center = foot + u * (a.max() + a.min()) / 2 + v * (b.max() + b.min()) / 2
    paper = Surface(
        C.BILLBOARD,
        (0.5, 0.5, 0.5),
        contrast=0.0,
        emissivity=0.93,
        kind=PRINT,
        celsius=mover.celsius["side" if mover.is_car else "cloth"],
        spread=0.1,
    )
    row = world.add(paper, center, [u, v])
    world.shapes.append(
        Cutout(
            (row,),
            center,
            u * (a.max() - a.min()) / 2,
            v * (b.max() - b.min()) / 2,
            mask=mask,
            image=image,
            corner=(int(y0), int(x0)),
            reference=camera,
        )
    )
    world.casters.extend(ghost.casters)


class _Window(Camera):
    """The part rows y0:y1, columns x0:x1 of a camera image, as a camera of its own."""

    def __init__(self, camera: Camera, y0: int, y1: int, x0: int, x1: int) -> None:
        super().__init__(camera.size, camera.focal, camera.position, camera.to_world)
        self.dirs = np.ascontiguousarray(self.dirs[:, y0:y1, x0:x1])
        self.size = (y1 - y0, x1 - x0)
        self.cx, self.cy = self.cx - x0, self.cy - y0
