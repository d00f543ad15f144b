"""Tasks by name: the built-in ones, and users' own by ``package.module:function``."""

from __future__ import annotations

from torch_growl.application.tasks.classes import Classification, LanguageModel, Segmentation
from torch_growl.application.tasks.own import OwnTask
from torch_growl.application.tasks.task import Task
from torch_growl.application.tasks.values import Multilabel, Regression
from torch_growl.arguments import did_you_mean
from torch_growl.errors import RecipeError

__all__ = ["BUILTIN", "build_task"]

BUILTIN: dict[str, type[Task]] = {
    task.name: task for task in (Classification, Multilabel, Regression, Segmentation, LanguageModel)
}


def build_task(spec: str) -> Task:
    """Build a task by name.

    Args:
        spec: a recipe's ``task``: a built-in name, or ``package.module:function`` as for :class:`OwnTask`.

    Raises:
        RecipeError: the name is unknown, or the function cannot be used.
    """
    if ":" in spec:
        return OwnTask(spec)
    if spec not in BUILTIN:
        raise RecipeError(f"task = {spec!r}: no such task; {did_you_mean(spec, BUILTIN)}")
    return BUILTIN[spec]()
