"""Datasets: digits, MNIST, CIFAR-10 and users' own, as training, validation and test splits."""

from torch_growl.application.data.datasets import load_data
from torch_growl.application.data.labels import check_labels
from torch_growl.application.data.reading import (
    ALONE,
    IN_PROCESS,
    Place,
    Reading,
    batches,
    epoch_batches,
    first_examples,
    is_divided,
    steps_in,
)

__all__ = [
    "ALONE",
    "IN_PROCESS",
    "Place",
    "Reading",
    "batches",
    "check_labels",
    "epoch_batches",
    "first_examples",
    "is_divided",
    "load_data",
    "steps_in",
]
