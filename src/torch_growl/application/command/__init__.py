"""The command ``growl``: its commands, options and output."""

from torch_growl.application.command.app import main

__all__ = ["main"]
