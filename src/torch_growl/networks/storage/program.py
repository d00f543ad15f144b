"""The compact network without its class: a ``torch.export`` program beside the compact file.

A program must only be loaded from a trusted source: ``torch.export.load`` unpickles parts of the archive and evaluates
expressions in it. A compact file needs no such trust.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torch_growl.checksums import check_archive
from torch_growl.errors import ExportError, FileFormatError, GrowlWarning, InvalidValueError, first_line
from torch_growl.networks.execution import batch_size, split_inputs
from torch_growl.networks.exporting import checked_program, quiet, traced_and_checked, warn_fixed_batch
from torch_growl.networks.storage.container import checksum

__all__ = ["load_program", "make_program", "program_path", "warn_if_stale"]

_TOLERANCE = 1e-5
_RECORD = "growl.json"


def program_path(path: Path) -> Path:
    """Return the path of the program beside a compact file.

    Raises:
        InvalidValueError: the compact file's own name ends in ``.pt2``.
    """
    if path.suffix == ".pt2":
        raise InvalidValueError(f"{path}: .pt2 is the name of programs; call the compact file NAME.safetensors")
    return path.with_suffix(".pt2")


def warn_if_stale(path: Path) -> None:
    """Warn that there is a program which does not belong to the compact file that was just written."""
    if path.exists():
        text = f"{path} belongs to an earlier save and was not changed"
        warnings.warn(f"{text}; save with example_inputs to renew it, or delete it", GrowlWarning, stacklevel=3)


def make_program(small: nn.Module, example_inputs: Any, belongs_to: str) -> bytes:
    """Export a network and compare the program's outputs with the network's.

    Args:
        small: the network; not modified, a copy is exported in eval mode on the CPU.
        example_inputs: as for ``compact``.
        belongs_to: the checksum of the compact file beside it.

    Returns:
        The ``.pt2`` file's bytes.

    Raises:
        ExportError: the network cannot be run or exported, or the program gives other outputs.

    Warns:
        GrowlWarning: the program takes the batch size of the example only.
    """

    record = {_RECORD: json.dumps({"compact_file": belongs_to})}

    def made(*, dynamic_batch: bool) -> bytes:
        return traced_and_checked(
            small,
            example_inputs,
            lambda traced: checked_program(traced, record)[0],
            dynamic_batch=dynamic_batch,
            tolerance=_TOLERANCE,
            scatter_free=False,
        )[1]

    size, reason = batch_size(split_inputs(example_inputs)), "they have no batch dimension"
    if size:
        try:
            return made(dynamic_batch=True)
        except ExportError as error:  # it was traced for any batch size, and gives other outputs at some
            reason = str(error)
    data = made(dynamic_batch=False)
    warn_fixed_batch(size, reason)
    return data


def load_program(path: str | os.PathLike[str]) -> nn.Module:
    """Load the network that ``save(..., example_inputs=…)`` wrote as a program; its class is not needed.

    Only load programs from sources that you trust: ``torch.export.load`` runs code that a malicious file can choose.
    Loading a compact file (:func:`load`) runs no code from it.

    Args:
        path: the ``.pt2`` file, or the compact file beside it.

    Returns:
        A module to call as the network, in eval mode, on CPU; it cannot be trained.

    Raises:
        FileFormatError: there is no such file, it is no program, a bit of it was changed, or it belongs to another
            compact file than the one beside it.

    Example:
        >>> import pathlib, tempfile, torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "small.safetensors"
        ...     tg.save(model, path, example_inputs=torch.zeros(2, 4))
        ...     program = tg.load_program(path)
        >>> program(torch.zeros(5, 4)).shape
        torch.Size([5, 3])
    """
    given = Path(path)
    path = given if given.suffix == ".pt2" else given.with_suffix(".pt2")
    if not path.is_file():
        raise FileFormatError(f"{path}: there is no such file; save(..., example_inputs=…) writes one")
    with open(path, "rb") as file:
        check_archive(file, str(path))
    extra = {_RECORD: ""}
    try:
        with quiet():
            module = torch.export.load(path, extra_files=extra).module()
    except Exception as error:  # any error of torch for a damaged archive
        raise FileFormatError(f"{path}: not a torch.export program, or a damaged one: {first_line(error)}") from None
    _check_belongs(path, given, extra[_RECORD])
    return module


def _check_belongs(path: Path, given: Path, record: str) -> None:
    file = given if given.suffix != ".pt2" else path.with_suffix(".safetensors")
    if not record or not file.is_file():
        return
    try:
        own, wanted = json.loads(record)["compact_file"], checksum(file)
    except Exception as error:
        raise FileFormatError(f"{path} cannot be compared with {file}: {first_line(error)}") from None
    if own != wanted:
        raise FileFormatError(f"{path} belongs to another compact file than {file}; save both together")
