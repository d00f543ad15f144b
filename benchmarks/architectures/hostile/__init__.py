"""Small networks whose code makes removing channels dangerous: branches, state, closed outputs, unusual code."""

from benchmarks.architectures.hostile.judging import Verdict, judge
from benchmarks.architectures.hostile.networks import FAMILIES, Hostile, hostile_networks

__all__ = ["FAMILIES", "Hostile", "Verdict", "hostile_networks", "judge"]
