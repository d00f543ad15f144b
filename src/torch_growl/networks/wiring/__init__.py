"""The wiring of a network: channels that can only be removed together, found by recording one run; those needed."""

from torch_growl.networks.wiring.combining import MULTIPLIED
from torch_growl.networks.wiring.constants import folds_into_bias
from torch_growl.networks.wiring.identities import connected_classes
from torch_growl.networks.wiring.needed import Flags, bundles, connections, left_along, needed_among, needed_channels
from torch_growl.networks.wiring.wiring import Wiring, no_wiring, wiring_of

__all__ = [
    "MULTIPLIED",
    "Flags",
    "Wiring",
    "bundles",
    "connected_classes",
    "connections",
    "folds_into_bias",
    "left_along",
    "needed_among",
    "needed_channels",
    "no_wiring",
    "wiring_of",
]
