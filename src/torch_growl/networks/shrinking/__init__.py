"""A smaller network without training: which channels go, and what the rest takes over from them."""

from torch_growl.networks.shrinking.channels import Alike, alike_channels, with_rows_left
from torch_growl.networks.shrinking.choice import chosen_rows
from torch_growl.networks.shrinking.compensation import compensate_
from torch_growl.networks.shrinking.one_step import OneStep
from torch_growl.networks.shrinking.training_free import shrink, shrink_tying

__all__ = [
    "Alike",
    "OneStep",
    "alike_channels",
    "chosen_rows",
    "compensate_",
    "shrink",
    "shrink_tying",
    "with_rows_left",
]
