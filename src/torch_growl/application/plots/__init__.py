"""Figures of networks, runs and curves, drawn by matplotlib, which is imported when one is made."""

from torch_growl.application.plots.curves import curve_figure
from torch_growl.application.plots.group_figures import layer_bars_figure, pixels_figure
from torch_growl.application.plots.notebook_figures import plot_curve, plot_groups, plot_rows
from torch_growl.application.plots.scale import PERCENT, Scale
from torch_growl.application.plots.similarity_figures import similarity_figure, similarity_histograms_figure
from torch_growl.application.plots.training_figures import metric_limits, progress_figure, row_norms_figure

__all__ = [
    "PERCENT",
    "Scale",
    "curve_figure",
    "layer_bars_figure",
    "metric_limits",
    "pixels_figure",
    "plot_curve",
    "plot_groups",
    "plot_rows",
    "progress_figure",
    "row_norms_figure",
    "similarity_figure",
    "similarity_histograms_figure",
]
