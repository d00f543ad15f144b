"""The compact network without its class: a ``torch.export`` program beside the compact file.

Unlike the compact file a program is only to be loaded from who is trusted: ``torch.export.load`` unpickles parts of
the archive and evaluates expressions in it.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from torch_growl.errors import CompactionError, FileFormatError, GrowlWarning, InvalidValueError, first_line
from torch_growl.networks.execution import Inputs, Proof, batch_of, split_inputs
from torch_growl.networks.storage.container import checksum

__all__ = ["load_program", "make_program", "program_path", "warn_if_stale"]

_TOLERANCE = 1e-5
_RECORD = "growl.json"


def program_path(path: Path) -> Path:
    """Where the program beside a compact file is.

    Raises:
        InvalidValueError: the compact file has a program's name itself.
    """
    if path.suffix == ".pt2":
        raise InvalidValueError(f"{path}: .pt2 is the name of programs; call the compact file NAME.safetensors")
    return path.with_suffix(".pt2")


def warn_if_stale(path: Path) -> None:
    """Say that a program is there which the file just written has nothing to do with."""
    if path.exists():
        warnings.warn(
            f"{path} is of an earlier save and was left as it is; save with example_inputs to renew it, or delete it",
            GrowlWarning,
            stacklevel=3,
        )


def make_program(small: nn.Module, example_inputs: Any, belongs_to: str) -> bytes:
    """Export a network and hold the program's answers against the network's.

    Args:
        small: the network; it is put into eval mode and onto the CPU.
        example_inputs: as for ``compact``.
        belongs_to: the checksum of the compact file it stands beside.

    Returns:
        The ``.pt2`` file's bytes.

    Raises:
        CompactionError: the network cannot be run or exported, or the program answers otherwise.
    """
    small = small.eval().cpu()
    inputs: Inputs = pytree.tree_map_only(Tensor, lambda x: x.detach().cpu(), split_inputs(example_inputs))
    proof = Proof(small, inputs, _TOLERANCE)
    program, why = _dynamic(small, inputs)
    if program is None:
        program, fault = _exported(small, inputs, None)
        if program is not None:
            fault = proof.fault(program.module())
        if program is None or fault:
            raise CompactionError(f"the network cannot be exported: {fault}")
        warnings.warn(
            f"the program takes the batch size of example_inputs only; any other: {why}",
            GrowlWarning,
            stacklevel=4,
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # source lines and paths of the machine it was made on
    file = io.BytesIO()  # a file on disk would leave its temporary name in the archive
    with _quiet():
        torch.export.save(program, file, extra_files={_RECORD: json.dumps({"compact_file": belongs_to})})
    return file.getvalue()


def load_program(path: str | os.PathLike[str]) -> nn.Module:
    """The network that ``save(..., example_inputs=…)`` wrote as a program; its class is not needed.

    Only load programs from sources that you trust: ``torch.export.load`` runs code that a malicious file can choose.
    A compact file (:func:`load`) never does.

    Args:
        path: the ``.pt2`` file, or the compact file it stands beside.

    Returns:
        A module to call as the network, in eval mode, on CPU; it cannot be trained.

    Raises:
        FileFormatError: there is no such file, it is no program, is damaged, or belongs to another compact file than
            the one it stands beside.
    """
    given = Path(path)
    path = given if given.suffix == ".pt2" else given.with_suffix(".pt2")
    if not path.is_file():
        raise FileFormatError(f"{path}: there is no such file; save(..., example_inputs=…) writes one")
    extra = {_RECORD: ""}
    try:
        with _quiet():
            module = torch.export.load(path, extra_files=extra).module()
    except Exception as error:  # whatever torch raises for a damaged archive
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


def _dynamic(small: nn.Module, inputs: Inputs) -> tuple[torch.export.ExportedProgram | None, str]:
    """A program for any batch size, or why there is none."""
    try:
        example = batch_of(inputs, 3)  # with a batch of 1, sizes are taken for constants
    except InvalidValueError as error:
        return None, f"there is none: {error}"
    first = next(leaf for leaf in pytree.tree_leaves(example) if isinstance(leaf, Tensor))

    def batch(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return None
        return {0: torch.export.Dim.DYNAMIC} if leaf.ndim and len(leaf) == len(first) else {}

    program, fault = _exported(small, example, pytree.tree_map(batch, example))
    if program is None:
        return None, fault
    for size in (3, 1, 8):
        try:
            fault = fault or Proof(small, batch_of(inputs, size), _TOLERANCE).fault(program.module())
        except CompactionError as error:  # the network itself does not take so many
            fault = str(error)
    return (None if fault else program), fault


def _exported(small: nn.Module, inputs: Inputs, shapes: Any) -> tuple[torch.export.ExportedProgram | None, str]:
    args, kwargs = inputs
    dynamic = None if shapes is None else _by_parameter(small, inputs, shapes)
    try:
        with _quiet(), torch.no_grad():
            return torch.export.export(copy.deepcopy(small), args, kwargs, dynamic_shapes=dynamic), ""
    except Exception as error:  # whatever a user's forward does that export does not follow
        return None, f"torch.export says: {first_line(error)}"


def _by_parameter(small: nn.Module, inputs: Inputs, shapes: Any) -> Any:
    """Dynamic shapes in the order of the inputs; all by name when there are named inputs."""
    args, kwargs = shapes
    if not kwargs:
        return args
    bound = inspect.signature(small.forward).bind(*inputs[0], **inputs[1])
    bound.arguments.update(inspect.signature(small.forward).bind(*args, **kwargs).arguments)
    return dict(bound.arguments)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Torch's own warnings and what it prints about attempts that fail are left out: our messages say it."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # it prints whole graphs there
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
