"""The GrOWL penalty, its proximal step, and the hook that takes it after every (or every n-th) ``optimizer.step()``."""

from torch_growl.networks.penalty.growl import GrOWL

__all__ = ["GrOWL"]
