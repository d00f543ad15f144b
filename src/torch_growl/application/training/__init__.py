"""One training of a network: its device and processes, learning rate and optimizer, epochs, and the metric."""

from torch_growl.application.training.processes import accelerator_for, sharding_asked
from torch_growl.application.training.scores import evaluate, standard_error
from torch_growl.application.training.trainer import Trainer

__all__ = ["Trainer", "accelerator_for", "evaluate", "sharding_asked", "standard_error"]
