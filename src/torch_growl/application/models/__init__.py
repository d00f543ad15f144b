"""Reference networks that recipes name, and their initial weights."""

from torch_growl.application.models.outputs import check_outputs
from torch_growl.application.models.registry import build_network

__all__ = ["build_network", "check_outputs"]
