"""Datasets: digits, MNIST, CIFAR-10 and users' own, as training, validation and test splits."""

from torch_growl.application.data.datasets import load_data
from torch_growl.application.data.labels import check_labels
from torch_growl.application.data.splits import TensorSplit

__all__ = ["TensorSplit", "check_labels", "load_data"]
