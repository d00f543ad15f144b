"""The lengths of an optimizer's steps, refused and schedule-free optimizers, checkpoints and pauses of a training."""

from torch_growl.networks.optimizers.checkpoint import Checkpoint
from torch_growl.networks.optimizers.formulas import check_strength_of, is_schedule_free
from torch_growl.networks.optimizers.pauses import SlowerStep, kept_random_state, paused
from torch_growl.networks.optimizers.schedule_free import base_of, carried_to_base
from torch_growl.networks.optimizers.step_lengths import Rate, StepLengths

__all__ = [
    "Checkpoint",
    "Rate",
    "SlowerStep",
    "StepLengths",
    "base_of",
    "carried_to_base",
    "check_strength_of",
    "is_schedule_free",
    "kept_random_state",
    "paused",
]
