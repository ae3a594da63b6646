"""Figures of trainings and networks: `lamp.plots.curves(history)`, and its kin.

Every function takes `ax=None`, draws there or on a figure of its own, and returns the axes. Pyplot is never touched, no
window opens: a notebook shows the axes where a cell ends with them, and `save` writes a file. matplotlib is imported
when the first figure is drawn.
"""

from lamp.missing_names import module_getattr
from lamp.plots.lines import curves
from lamp.plots.look import STYLE, panels, save
from lamp.plots.maps import output_map
from lamp.plots.scatter import data_set, disk, points, runs_overlaid
from lamp.plots.sweeps import heat_map

__all__ = ["STYLE", "curves", "data_set", "disk", "heat_map", "output_map", "panels", "points", "runs_overlaid", "save"]

__getattr__ = module_getattr(__name__, lambda: __all__)
