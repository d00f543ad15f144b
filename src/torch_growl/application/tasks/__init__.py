"""Tasks: for each its labels, the outputs of a network that it takes, its loss and its metric."""

from torch_growl.application.tasks.batch_forms import Batch, read_batch, share_of
from torch_growl.application.tasks.metric import ACCURACY, PERCENT, Metric, metric_of, scores_of
from torch_growl.application.tasks.outputs import described, widest
from torch_growl.application.tasks.registry import build_task
from torch_growl.application.tasks.task import Task

__all__ = [
    "ACCURACY",
    "PERCENT",
    "Batch",
    "Metric",
    "Task",
    "build_task",
    "described",
    "metric_of",
    "read_batch",
    "scores_of",
    "share_of",
    "widest",
]
