"""A smaller network without training: which channels go, and what the rest takes over from them."""

from torch_growl.networks.shrinking.compensation import compensate_
from torch_growl.networks.shrinking.training_free import shrink

__all__ = ["compensate_", "shrink"]
