"""The row of the light-field camera."""

from __future__ import annotations

from armseg_core.sensors.light_field.options import LightFieldOptions
from armseg_core.sensors.light_field.panels import panels, picture
from armseg_core.sensors.light_field.readers import LIGHT_FIELD_READERS
from armseg_core.sensors.light_field.representations import LIGHT_FIELD_REPRESENTATIONS, model_tensor
from armseg_core.sensors.modality import Modality

SENSOR = Modality(
    name="light_field",
    title="light-field camera",
    prompt="light field disparity image",
    channels=("disparity", "confidence", "view_std"),
    # px per view step: the default search range of 3 and the half step by which it may be passed, rounded up
    value_range=(-4.0, 4.0),
    representation="views",
    # Free choice: near is bright, where it is certain greenish, where views disagree blue. Red is in range
    # for disparities from -1.2 to 2.8.
    pseudo_rgb=((0.25, 0.25, 0.25), (0.0, 0.4, 0.0), (0.0, 0.0, 2.0)),
    pseudo_rgb_bias=(0.3, 0.2, 0.2),
    aliases=("lightfield", "lf", "plenoptic"),
    words=("view", "sai", "lenslet", "eslf"),
    options=LightFieldOptions,
    readers=LIGHT_FIELD_READERS,
    representations=LIGHT_FIELD_REPRESENTATIONS,
    fits_any_color=True,
    model_tensor=model_tensor,
    picture=picture,
    panels=panels,
)
