"""The GrOWL penalty, its proximal step, and the hook that takes it after every (or every n-th) ``optimizer.step()``."""

from torch_growl.networks.penalty.growl import GrOWL
from torch_growl.networks.penalty.optimizer_hook import unwrapped
from torch_growl.networks.penalty.penalised_layers import DEFAULT_SEQUENCE, choose_penalised

__all__ = ["DEFAULT_SEQUENCE", "GrOWL", "choose_penalised", "unwrapped"]
