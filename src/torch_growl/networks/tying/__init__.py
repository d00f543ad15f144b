"""The rows of a network that are pruned or share a value, and two ways to hold them in training."""

from torch_growl.networks.tying.averaging import averaged_rows
from torch_growl.networks.tying.finding import check_readers, existing_tying, find_tying, with_equal_rows
from torch_growl.networks.tying.parametrization import TiedRows, tie_, tied_layers, untie_
from torch_growl.networks.tying.projection import HeldTying
from torch_growl.networks.tying.row_groups import RowGroups
from torch_growl.networks.tying.tying import Tying

__all__ = [
    "HeldTying",
    "RowGroups",
    "TiedRows",
    "Tying",
    "averaged_rows",
    "check_readers",
    "existing_tying",
    "find_tying",
    "tie_",
    "tied_layers",
    "untie_",
    "with_equal_rows",
]
