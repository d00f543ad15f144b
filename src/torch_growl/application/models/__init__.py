"""The reference networks that recipes name, and their initialisation."""

from torch_growl.application.models.registry import build_network

__all__ = ["build_network"]
