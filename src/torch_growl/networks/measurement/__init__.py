"""The weights, bytes, MACs and latency of a network, and their ratios in words."""

from torch_growl.networks.measurement.counts import Measurement, measure, recorded_run
from torch_growl.networks.measurement.latency import RUNTIMES, Comparison, compare_latency, onnx_runner, runner
from torch_growl.networks.measurement.layer_counts import layer_costs
from torch_growl.networks.measurement.ratios import SAME_TIME, in_words

__all__ = [
    "RUNTIMES",
    "SAME_TIME",
    "Comparison",
    "Measurement",
    "compare_latency",
    "in_words",
    "layer_costs",
    "measure",
    "onnx_runner",
    "recorded_run",
    "runner",
]
