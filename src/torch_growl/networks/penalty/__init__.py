"""The GrOWL penalty and the proximal step that runs after every ``optimizer.step()``."""

from torch_growl.networks.penalty.growl import GrOWL

__all__ = ["GrOWL"]
