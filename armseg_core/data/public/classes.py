"""Class names and colors of the public data sets, in index order; colors are their own where known."""

from __future__ import annotations

from armseg_core.data.sample import ClassInfo, default_color

Row = tuple[str, tuple[int, int, int]]


def _classes(*rows: Row) -> tuple[ClassInfo, ...]:
    return tuple(ClassInfo(name, color) for name, color in rows)


def _named(names: str) -> tuple[ClassInfo, ...]:
    """Classes of a data set without a palette of its own."""
    return tuple(ClassInfo(name.strip(), default_color(i)) for i, name in enumerate(names.split(",")))


MFNET = _classes(
    ("unlabeled", (0, 0, 0)),
    ("car", (64, 0, 128)),
    ("person", (64, 64, 0)),
    ("bike", (0, 128, 192)),
    ("curve", (0, 0, 192)),
    ("car stop", (128, 128, 0)),
    ("guardrail", (64, 64, 128)),
    ("color cone", (192, 128, 128)),
    ("bump", (192, 64, 0)),
)

PST900 = _classes(
    ("background", (0, 0, 0)),
    ("fire extinguisher", (0, 0, 255)),
    ("backpack", (0, 255, 0)),
    ("hand drill", (255, 0, 0)),
    ("survivor", (255, 255, 255)),
)

FMB = _classes(
    ("background", (0, 0, 0)),
    ("road", (228, 228, 179)),
    ("sidewalk", (133, 57, 181)),
    ("building", (177, 162, 67)),
    ("lamp", (50, 178, 200)),
    ("sign", (199, 45, 132)),
    ("vegetation", (84, 172, 66)),
    ("sky", (79, 73, 179)),
    ("person", (166, 99, 76)),
    ("car", (253, 121, 66)),
    ("truck", (91, 165, 137)),
    ("bus", (152, 97, 155)),
    ("motorcycle", (140, 153, 105)),
    ("bicycle", (158, 215, 222)),
    ("pole", (90, 113, 135)),
)

NYU = _named(
    "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, blinds, desk, "
    "shelves, curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, books, refrigerator, "
    "television, paper, towel, shower curtain, box, whiteboard, person, night stand, toilet, sink, lamp, "
    "bathtub, bag, other structure, other furniture, other prop"
)

MCUBES = _classes(
    ("asphalt", (44, 160, 44)),
    ("concrete", (31, 119, 180)),
    ("metal", (255, 127, 14)),
    ("road marking", (214, 39, 40)),
    ("fabric", (140, 86, 75)),
    ("glass", (127, 127, 127)),
    ("plaster", (188, 189, 34)),
    ("plastic", (255, 152, 150)),
    ("rubber", (23, 190, 207)),
    ("sand", (174, 199, 232)),
    ("gravel", (196, 156, 148)),
    ("ceramic", (197, 176, 213)),
    ("cobblestone", (247, 182, 210)),
    ("brick", (199, 199, 199)),
    ("grass", (219, 219, 141)),
    ("wood", (158, 218, 229)),
    ("leaf", (57, 59, 121)),
    ("water", (107, 110, 207)),
    ("human", (156, 158, 222)),
    ("sky", (99, 121, 57)),
)

URBANLF = _classes(
    ("bike", (168, 198, 168)),
    ("building", (198, 0, 0)),
    ("fence", (202, 154, 198)),
    ("others", (0, 0, 0)),
    ("person", (100, 198, 198)),
    ("pole", (198, 100, 0)),
    ("road", (52, 42, 198)),
    ("sidewalk", (154, 52, 192)),
    ("traffic sign", (198, 0, 168)),
    ("vegetation", (0, 198, 0)),
    ("vehicle", (198, 186, 90)),
    ("bridge", (108, 107, 161)),
    ("rider", (156, 200, 26)),
    ("sky", (158, 179, 202)),
)

DDD17 = _classes(
    ("flat", (128, 64, 128)),
    ("background", (70, 70, 70)),
    ("object", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("human", (220, 20, 60)),
    ("vehicle", (0, 0, 142)),
)

DSEC_11 = _classes(
    ("background", (0, 0, 0)),
    ("building", (70, 70, 70)),
    ("fence", (190, 153, 153)),
    ("person", (220, 20, 60)),
    ("pole", (153, 153, 153)),
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("vegetation", (107, 142, 35)),
    ("car", (0, 0, 142)),
    ("wall", (102, 102, 156)),
    ("traffic sign", (220, 220, 0)),
)

CITYSCAPES_19 = _classes(
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("pole", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)

DELIVER = _classes(
    ("building", (70, 70, 70)),
    ("fence", (100, 40, 40)),
    ("other", (55, 90, 80)),
    ("pedestrian", (220, 20, 60)),
    ("pole", (153, 153, 153)),
    ("road line", (157, 234, 50)),
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("vegetation", (107, 142, 35)),
    ("car", (0, 0, 142)),
    ("wall", (102, 102, 156)),
    ("traffic sign", (220, 220, 0)),
    ("sky", (70, 130, 180)),
    ("ground", (81, 0, 81)),
    ("bridge", (150, 100, 100)),
    ("rail track", (230, 150, 140)),
    ("guard rail", (180, 165, 180)),
    ("traffic light", (250, 170, 30)),
    ("static", (110, 190, 160)),
    ("dynamic", (170, 120, 50)),
    ("water", (45, 60, 150)),
    ("terrain", (145, 170, 100)),
    ("two-wheeler", (0, 0, 230)),
    ("bus", (0, 60, 100)),
    ("truck", (0, 0, 70)),
)
