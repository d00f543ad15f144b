"""Paths: the smallest network within an accuracy drop, found in trials from light to heavy that are kept in a file."""

from torch_growl.networks.paths.accuracy_drop import DropControl
from torch_growl.networks.paths.path import DropProgress, PruningPath
from torch_growl.networks.paths.starting import control_of

__all__ = ["DropControl", "DropProgress", "PruningPath", "control_of"]
