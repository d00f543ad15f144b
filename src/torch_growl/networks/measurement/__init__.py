"""What a network costs in weights, bytes, MACs and milliseconds, and what compaction could save of them."""

from torch_growl.networks.measurement.counts import latency_pair, measure
from torch_growl.networks.measurement.diagnosis import doctor
from torch_growl.networks.measurement.latency import RUNTIMES, compare_latency

__all__ = ["RUNTIMES", "compare_latency", "doctor", "latency_pair", "measure"]
