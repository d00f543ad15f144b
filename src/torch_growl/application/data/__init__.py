"""Datasets: digits, MNIST, CIFAR-10 and users' own, as training, validation and test splits."""

from torch_growl.application.data.datasets import load_data
from torch_growl.application.data.labels import check_labels
from torch_growl.application.data.reading import IN_PROCESS, Reading, batches, epoch_batches, first_examples, steps_in

__all__ = [
    "IN_PROCESS",
    "Reading",
    "batches",
    "check_labels",
    "epoch_batches",
    "first_examples",
    "load_data",
    "steps_in",
]
