"""The weights, bytes, MACs and latency of a network, and the diagnosis of what compaction could save."""

from torch_growl.networks.measurement.counts import measure
from torch_growl.networks.measurement.diagnosis import Diagnosis, doctor
from torch_growl.networks.measurement.latency import RUNTIMES, Comparison, compare_latency

__all__ = ["RUNTIMES", "Comparison", "Diagnosis", "compare_latency", "doctor", "measure"]
