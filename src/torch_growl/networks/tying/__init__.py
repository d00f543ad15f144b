"""Which rows of a network are pruned or share a value, and the parametrization that trains the shared values."""

from torch_growl.networks.tying.parametrization import TiedRows, tie_, tied_layers, untie_
from torch_growl.networks.tying.tying import Tying, find_tying

__all__ = ["TiedRows", "Tying", "find_tying", "tie_", "tied_layers", "untie_"]
