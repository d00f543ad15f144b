"""The command line ``growl``."""

from torch_growl.application.command.app import main

__all__ = ["main"]
