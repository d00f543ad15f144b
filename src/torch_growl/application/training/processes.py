"""The device and the processes that a run trains on."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import patch_environment
from torch import nn

from torch_growl.errors import GrowlWarning, InvalidValueError, first_line
from torch_growl.networks.compaction import FedLayer
from torch_growl.networks.sharding import is_spread, layer_type

__all__ = ["Sharding", "accelerator_for", "sharding_asked"]

_LONGEST = timedelta(days=2)  # that processes wait for one another: the first one ties, compacts and measures alone
_PRESENT: dict[str, tuple[str, Callable[[], bool]]] = {
    "cuda": ("CUDA device", lambda: torch.cuda.is_available()),
    "mps": ("Apple GPU (MPS)", lambda: torch.backends.mps.is_available()),
    "xpu": ("Intel GPU (XPU)", lambda: torch.xpu.is_available()),
}


def accelerator_for(device: str, precision: str) -> Accelerator:
    """Make the accelerator of a run; one process may do several runs, each with its own device and precision.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``mps`` or ``xpu``; auto: the first of the last three that this machine
            has, otherwise the CPU.
        precision: ``no``, ``bf16`` or ``fp16``.

    Raises:
        InvalidValueError: this machine has no such device, or runs cannot use it beside another one.
    """
    if device in _PRESENT and not _PRESENT[device][1]():
        raise InvalidValueError(
            f"device is {device!r}, but this machine has no {_PRESENT[device][0]}; use --device cpu"
        )
    cpu = device == "cpu" or not any(there() for _, there in _PRESENT.values())
    AcceleratorState._reset_state(reset_partial_state=True)
    # weights are sharded by :class:`Sharding`, on CPUs too, and every batch is one step
    with patch_environment(ACCELERATE_USE_FSDP="false", ACCELERATE_GRADIENT_ACCUMULATION_STEPS="1"):
        made = Accelerator(
            cpu=cpu, mixed_precision=precision, kwargs_handlers=[InitProcessGroupKwargs(timeout=_LONGEST)]
        )
    if made.num_processes == 1 and {"ACCELERATE_USE_CPU", "MASTER_PORT"} <= set(os.environ):
        warnings.warn(
            "accelerate launch has started one process for --num_processes; on CPUs it starts several with --multi_gpu",
            GrowlWarning,
            stacklevel=2,
        )
    if device in _PRESENT and made.device.type != device:
        raise InvalidValueError(
            f"device is {device!r}, but accelerate chooses {made.device.type!r} on this machine; use --device auto"
        )
    return made


@dataclass(frozen=True)
class Sharding:
    """Says how FSDP2 divides the weights of a training among processes.

    Attributes:
        policy: ``NO_WRAP``: the network is sharded as one unit; ``TRANSFORMER_BASED_WRAP``: each module of
            ``classes`` too; ``SIZE_BASED_WRAP``: each module with more than ``least`` weights too.
        classes: names of classes; empty: those of the network's ``_no_split_modules``.
        least: weights of a module.
        reshards: whether whole weights of a unit are given up between its forward and its backward run.
        offloads: whether weights and the optimizer's state are in the CPU's memory.
    """

    policy: str = "NO_WRAP"
    classes: tuple[str, ...] = ()
    least: int = 10**8
    reshards: bool = True
    offloads: bool = False

    def shard_(self, model: nn.Module, device: torch.device) -> None:
        """Shard a network with the same whole weights on every process, unless it is sharded already.

        Args:
            model: the network; modified in place.
            device: its parts go there.

        Raises:
            InvalidValueError: FSDP2 refuses the network.
        """
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

        if is_spread(model):
            return
        mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
        offload = CPUOffloadPolicy(pin_memory=device.type != "cpu") if self.offloads else OffloadPolicy()
        try:
            for unit in self._units(model):
                fully_shard(unit, mesh=mesh, reshard_after_forward=self.reshards, offload_policy=offload)
            fully_shard(model, mesh=mesh, offload_policy=offload)
        except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            raise InvalidValueError(f"FSDP2 cannot shard the network: {first_line(error)}") from error

    def _units(self, model: nn.Module) -> list[nn.Module]:
        """The modules that are sharded beside the network itself, inner ones first."""
        inner = [module for module in list(model.modules())[:0:-1] if not isinstance(module, _CONTAINERS)]
        if self.policy == "SIZE_BASED_WRAP":
            found = [module for module in inner if sum(p.numel() for p in module.parameters()) > self.least]
        else:
            names = self._names(model)  # a compact network need not have them all
            found = [module for module in inner if layer_type(module).__name__ in names]
        # The inputs of a compact layer read its weight: the two are one unit.
        fed = {child: module for module in inner if isinstance(module, FedLayer) for child in module.children()}
        units = dict.fromkeys(fed.get(module, module) for module in found)
        # A weight that modules share, such as an embedding and a head, is in a unit that holds them all.
        owners: dict[int, set[nn.Module]] = {}
        for module in model.modules():
            for own in module._parameters.values():
                owners.setdefault(id(own), set()).add(module)
        return [unit for unit in units if all(owners[id(p)] <= set(unit.modules()) for p in unit.parameters())]

    def _names(self, model: nn.Module) -> tuple[str, ...]:
        if self.policy != "TRANSFORMER_BASED_WRAP":
            return ()
        return self.classes or tuple(getattr(model, "_no_split_modules", None) or ())

    def check(self, model: nn.Module) -> None:
        """Check, before any training, that the network has modules of the classes.

        Raises:
            InvalidValueError: it lacks one, or no class is named.
        """
        names, there = self._names(model), {layer_type(module).__name__ for module in model.modules()}
        if self.policy == "TRANSFORMER_BASED_WRAP" and not (names and there.issuperset(names)):
            raise InvalidValueError(
                f"FSDP_TRANSFORMER_CLS_TO_WRAP = {','.join(names)!r} must name classes of the network's modules; "
                f"there are {', '.join(sorted(there))}"
            )


_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)  # they have no forward run
_POLICIES = ("NO_WRAP", "TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP")


def sharding_asked(precision: str) -> Sharding | None:
    """Read from the environment how weights are to be sharded, as ``accelerate launch --use_fsdp`` sets it.

    Args:
        precision: the recipe's.

    Returns:
        None where it is not asked for.

    Raises:
        InvalidValueError: FSDP1 is asked for, something of FSDP2 that runs do not have, or a setting is no number.
    """
    if not _is_true("ACCELERATE_USE_FSDP"):
        return None
    if (version := os.environ.get("FSDP_VERSION", "1")) != "2":
        raise InvalidValueError(
            f"accelerate uses FSDP{version}, whose flat weights have no rows; use FSDP2: "
            "accelerate launch --use_fsdp --fsdp_version 2, or FSDP_VERSION=2"
        )
    for name in ("FSDP_ACTIVATION_CHECKPOINTING", "FSDP_IGNORED_MODULES"):
        if os.environ.get(name, "").lower() not in ("", "false", "none"):
            raise InvalidValueError(f"{name} = {os.environ[name]!r}: runs of a recipe do not have it; leave it out")
    if precision == "fp16":
        raise InvalidValueError("precision fp16 is not for weights that FSDP2 shards; choose bf16 or no")
    policy = os.environ.get("FSDP_AUTO_WRAP_POLICY", "NO_WRAP").upper()
    if policy not in _POLICIES:
        raise InvalidValueError(f"FSDP_AUTO_WRAP_POLICY = {policy!r} must be one of {', '.join(_POLICIES)}")
    names = os.environ.get("FSDP_TRANSFORMER_CLS_TO_WRAP", "")
    return Sharding(
        policy,
        tuple(name.strip() for name in names.split(",") if name.strip()),
        _least_asked(),
        os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() not in ("false", "0"),
        _is_true("FSDP_OFFLOAD_PARAMS"),
    )


def _least_asked() -> int:
    text = os.environ.get("FSDP_MIN_NUM_PARAMS") or str(Sharding.least)
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise InvalidValueError(f"FSDP_MIN_NUM_PARAMS = {text!r} must be a number of weights, such as 1000000 or 1e6")
    return int(found)


def _is_true(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("true", "1", "yes")
