"""The three parts of a dataset."""

from __future__ import annotations

from typing import Any

from torch_growl.application.data.splits import Splits


def everything(splits: Splits) -> list[Any]:
    """Its training, validation and test examples."""
    return [splits.train, splits.validation, splits.test]
