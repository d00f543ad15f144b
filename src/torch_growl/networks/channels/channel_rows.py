"""The rows of coupled channels in a network: read, scaled and set to zero together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torch_growl.errors import LayerError
from torch_growl.networks.channels.coupling import CoupledChannels
from torch_growl.networks.layers import row_norms, rows_of, scale_rows_
from torch_growl.networks.wiring import Flags

__all__ = ["ChannelRows"]

Of = Callable[[Tensor], "Tensor | None"]


class ChannelRows:
    """Coupled channels of one network as rows.

    The norm of a row is that of everything that reads the channel. What makes it (filters, biases, normalisations,
    gates) goes to zero with it; filters before a normalisation have no scale of their own that could be shrunk.

    Args:
        model: the network; held by reference.
        channels: found on a copy of it.

    Raises:
        LayerError: the network lacks a layer or a parameter, or has another size there.
    """

    def __init__(self, model: nn.Module, channels: CoupledChannels) -> None:
        self.channels = channels
        self._modules = dict(model.named_modules())
        parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        for name, numbers in channels.readers.items():
            if name not in self._modules or len(rows_of(self._modules[name])) <= numbers.max():
                raise LayerError(f"the network has no layer {name!r} with the rows that the penalised network has")
        for name in (*channels.makers, *channels.parameters):
            if name not in self._modules and name not in parameters:
                raise LayerError(f"the network has no {name!r}, as the penalised network has")

    def __len__(self) -> int:
        return len(self.channels)

    @property
    def name(self) -> str:
        """The name of the channels."""
        return self.channels.name

    @property
    def readers(self) -> dict[str, nn.Module]:
        """The layers that read the channels, by name."""
        return {name: self._modules[name] for name in self.channels.readers}

    @property
    def frozen(self) -> bool:
        """Tell whether the weight of a layer that reads the channels is frozen."""
        weights = (module._parameters.get("weight") for module in self.readers.values())
        return any(weight is not None and not weight.requires_grad for weight in weights)

    @property
    def row_length(self) -> int:
        """The number of weights that read one channel."""
        return sum(
            numbers.shape[1] * rows_of(self._modules[name]).shape[1] for name, numbers in self.channels.readers.items()
        )

    def _parameter(self, name: str) -> Tensor | None:
        module, _, key = name.rpartition(".")
        found: Tensor | None = self._modules[module]._parameters.get(key)
        return found

    def weights(self) -> dict[str, Tensor]:
        """The weights of the readers by layer name, and all else that training moves and that becomes zero.

        Raises:
            LayerError: a weight is no plain parameter any more.
        """
        found: dict[str, Tensor] = {}
        for name, module in self.readers.items():
            weight = module._parameters.get("weight")
            if weight is None:
                raise LayerError(
                    f"layer {name!r} no longer has a plain weight. Before tie_(), call remove() on the handle that "
                    "attach() returned; attach again after untie_()"
                )
            found[name] = weight
        for name in self.channels.makers:
            for key, parameter in self._modules[name]._parameters.items():
                if parameter is not None and parameter.requires_grad:
                    found.setdefault(name if key == "weight" else f"{name}.{key}", parameter)
        for name in self.channels.parameters:
            if (parameter := self._parameter(name)) is not None and parameter.requires_grad:
                found.setdefault(name, parameter)
        return found

    def norms(self) -> Tensor:
        """The ℓ2 norm of every row, ``(channels,)``, differentiable."""
        squares = [
            rows_of(self._modules[name]).square().sum(1)[torch.from_numpy(numbers)].sum(1)
            for name, numbers in self.channels.readers.items()
        ]
        return torch.stack(squares).sum(0).sqrt()

    def values(self) -> NDArray[np.float64]:
        """The norms as numbers, in one copy for each layer."""
        return np.sqrt(sum(self._squares().values()))

    def in_units(self) -> NDArray[np.float64]:
        """The root of the mean over the readers of the squared norms, each in units of that reader's mean."""
        shares = [own / max(float(own.mean()), 1e-30) for own in self._squares().values()]
        return np.sqrt(sum(shares) / len(shares))

    def _squares(self) -> dict[str, NDArray[np.float64]]:
        return {
            name: np.square(row_norms(self._modules[name]).double().cpu().numpy())[numbers].sum(axis=1)
            for name, numbers in self.channels.readers.items()
        }

    @torch.no_grad()
    def scale_(self, scale: NDArray[np.float64], *, whole: bool, of: Of = lambda parameter: parameter) -> None:
        """Multiply rows, in place; a factor of 0 gives exact zeros.

        Args:
            scale: ``(channels,)``. Frozen parameters are left as they are.
            whole: whether to scale what makes the channels too; otherwise only what reads them.
            of: gives for a parameter the tensor of its shape to scale in its place, or None to leave it out.
        """
        for name, numbers in self.channels.readers.items():
            self._scale_rows_(name, numbers, scale, "input", of)
        if not whole:
            return
        for name, numbers in self.channels.makers.items():
            self._scale_rows_(name, numbers, scale, "output", of)
            if (bias := self._modules[name]._parameters.get("bias")) is not None:
                _scale_elements_(bias, numbers, scale, of)
        for name, numbers in self.channels.parameters.items():
            if (parameter := self._parameter(name)) is not None:
                _scale_elements_(parameter, numbers, scale, of)

    def zero_(self, gone: Flags, of: Of = lambda parameter: parameter) -> None:
        """Set channels to zero, with all that makes them."""
        if gone.any():
            self.scale_((~gone).astype(np.float64), whole=True, of=of)

    def _scale_rows_(
        self, name: str, numbers: NDArray[np.int64], scale: NDArray[np.float64], side: str, of: Of
    ) -> None:
        module = self._modules[name]
        weight = module._parameters.get("weight")
        target = None if weight is None or not weight.requires_grad else of(weight)
        if target is not None:
            count = len(rows_of(module, side))  # type: ignore[arg-type]
            scale_rows_(module, _spread(numbers, scale, count, target), side, target.detach())  # type: ignore[arg-type]

    def rows(self, gone: Flags) -> Mapping[str, Flags]:
        """Flag the rows of channels, for every layer that reads them."""
        found = {}
        for name, numbers in self.channels.readers.items():
            found[name] = np.zeros(len(rows_of(self._modules[name])), dtype=np.bool_)
            found[name][numbers[gone]] = True
        return found


def _scale_elements_(parameter: Tensor, numbers: NDArray[np.int64], scale: NDArray[np.float64], of: Of) -> None:
    target = of(parameter) if parameter.requires_grad else None
    if target is not None:
        target.detach().mul_(_spread(numbers, scale, target.numel(), target).view(target.shape))


def _spread(numbers: NDArray[np.int64], scale: NDArray[np.float64], count: int, like: Tensor) -> Tensor:
    """Factors of ``count`` places, 1 where no channel is."""
    factors = np.ones(count)
    factors[numbers] = scale[:, None]
    return torch.from_numpy(factors).to(like)
