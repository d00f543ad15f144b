"""The lengths of an optimizer's steps along the gradient, the optimizers that are refused, and schedule-free ones."""

from torch_growl.networks.optimizers.schedule_free import base_of, carried_to_base
from torch_growl.networks.optimizers.step_lengths import StepLengths

__all__ = ["StepLengths", "base_of", "carried_to_base"]
