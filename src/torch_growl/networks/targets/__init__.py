"""Targets: what is to be left of a network, counting what would be left, and the rows that have to go for it."""

from torch_growl.networks.targets.accuracy_drop import DropControl
from torch_growl.networks.targets.control import Control, DropProgress, Progress
from torch_growl.networks.targets.path import PruningPath
from torch_growl.networks.targets.pressing import RowsOf
from torch_growl.networks.targets.target import Target

__all__ = ["Control", "DropControl", "DropProgress", "Progress", "PruningPath", "RowsOf", "Target"]
