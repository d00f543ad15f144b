"""The weights, bytes, MACs and latency of a network, their ratios in words, and what compaction could save."""

from torch_growl.networks.measurement.counts import measure
from torch_growl.networks.measurement.diagnosis import Diagnosis, doctor, recorded_run
from torch_growl.networks.measurement.latency import RUNTIMES, Comparison, compare_latency, onnx_runner, runner
from torch_growl.networks.measurement.ratios import SAME_TIME, in_words

__all__ = [
    "RUNTIMES",
    "SAME_TIME",
    "Comparison",
    "Diagnosis",
    "compare_latency",
    "doctor",
    "in_words",
    "measure",
    "onnx_runner",
    "recorded_run",
    "runner",
]
