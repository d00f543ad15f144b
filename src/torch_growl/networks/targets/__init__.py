"""Targets: what is to be left of a network, counting what would be left, and the rows that have to go for it."""

from torch_growl.networks.targets.control import Control, Phase, Progress
from torch_growl.networks.targets.counting import Counter, Left, Summed
from torch_growl.networks.targets.figure import Figure, FileSize, without_rows
from torch_growl.networks.targets.pressing import Press, Rows, RowsOf, all_but_least
from torch_growl.networks.targets.random_zeros import zero_half_
from torch_growl.networks.targets.stretch import Action, Choose, Stretch
from torch_growl.networks.targets.target import COUNTED, MEASURES, Target, as_text

__all__ = [
    "COUNTED",
    "MEASURES",
    "Action",
    "Choose",
    "Control",
    "Counter",
    "Figure",
    "FileSize",
    "Left",
    "Phase",
    "Press",
    "Progress",
    "Rows",
    "RowsOf",
    "Stretch",
    "Summed",
    "Target",
    "all_but_least",
    "as_text",
    "without_rows",
    "zero_half_",
]
