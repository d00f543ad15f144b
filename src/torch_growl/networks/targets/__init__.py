"""Targets: what is to be left of a network, counting what would be left, and the strength that gets there."""

from torch_growl.networks.targets.control import Control, Progress
from torch_growl.networks.targets.pressing import RowsOf
from torch_growl.networks.targets.target import Target

__all__ = ["Control", "Progress", "RowsOf", "Target"]
