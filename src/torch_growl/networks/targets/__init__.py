"""Targets: what is to be left of a network, counting what would be left, and the rows that have to go for it."""

from torch_growl.networks.targets.accuracy_drop import DropControl
from torch_growl.networks.targets.control import Control, DropProgress, Progress
from torch_growl.networks.targets.counting import Counter, Left, zero_half_
from torch_growl.networks.targets.figure import FileSize, without_rows
from torch_growl.networks.targets.path import PruningPath
from torch_growl.networks.targets.pressing import RowsOf
from torch_growl.networks.targets.target import Target, as_text

__all__ = [
    "Control",
    "Counter",
    "DropControl",
    "DropProgress",
    "FileSize",
    "Left",
    "Progress",
    "PruningPath",
    "RowsOf",
    "Target",
    "as_text",
    "without_rows",
    "zero_half_",
]
