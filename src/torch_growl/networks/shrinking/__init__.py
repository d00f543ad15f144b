"""A smaller network without training: which channels go, and what the rest takes over from them."""

from torch_growl.networks.shrinking.compensation import Compensation, compensate_
from torch_growl.networks.shrinking.shrink import shrink

__all__ = ["Compensation", "compensate_", "shrink"]
