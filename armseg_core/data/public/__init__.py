"""Public data sets in the layouts they are passed around in: one file each, one row each in PUBLIC.

A new one is one class in a file of its own and one row here.
"""

from armseg_core.data.public.base import PublicDataSet
from armseg_core.data.public.ddd17 import DDD17
from armseg_core.data.public.deliver import DELIVER
from armseg_core.data.public.dsec_semantic import DSECSemantic
from armseg_core.data.public.fmb import FMB
from armseg_core.data.public.mcubes import MCubeS
from armseg_core.data.public.mfnet import MFNet
from armseg_core.data.public.nyu_depth_v2 import NYUDepthV2
from armseg_core.data.public.pst900 import PST900
from armseg_core.data.public.urbanlf import UrbanLF

# tried in this order
PUBLIC: tuple[type[PublicDataSet], ...] = (
    MFNet,
    PST900,
    FMB,
    NYUDepthV2,
    MCubeS,
    UrbanLF,
    DDD17,
    DSECSemantic,
    DELIVER,
)
