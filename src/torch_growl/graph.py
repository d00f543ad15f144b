"""Who makes and who reads each channel: which layers' output channels may be removed, and why the others' may not.

The network is traced with ``torch.fx`` and run once on the example inputs for the shapes. From every registered layer
its output channels are followed forward through operations that act on each channel by itself; they may be cut when
every path ends in a registered layer. Whatever is not understood stops the cut with a reason. That such a cut is
right is not believed but proven afterwards, by comparing outputs.
"""

from __future__ import annotations

import inspect
import operator
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from torch_growl.channelwise import NORMS, after, argument
from torch_growl.layers import kind_of

__all__ = ["Link", "Wiring", "wiring_of"]


@dataclass(frozen=True)
class Link:
    """One reader of a layer's output channels.

    Attributes:
        consumer: the reading layer's name.
        block: how many of its inputs one channel makes; channel c is inputs ``c * block … c * block + block - 1``.
    """

    consumer: str
    block: int


@dataclass(frozen=True)
class Wiring:
    """What may be cut.

    Attributes:
        links: for every layer whose output channels may be cut, all of its readers.
        norms: for every such layer, the normalisations on the way: ``(name, features)``-blocks as for readers.
        reasons: for every other registered layer, why its output channels may not be cut.
    """

    links: Mapping[str, tuple[Link, ...]]
    norms: Mapping[str, tuple[tuple[str, int], ...]]
    reasons: Mapping[str, str]


class _Stop(Exception):
    """The channels cannot be followed any further; the text is the reason."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return kind_of(m) is not None or super().is_leaf_module(m, module_qualified_name)


class _Shapes(fx.Interpreter):
    """Runs the graph once and notes the shape of every tensor."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__(module, graph=graph)
        self.shapes: dict[fx.Node, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = value.shape
        return value


def wiring_of(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], fixed: Mapping[str, str] | None = None
) -> Wiring:
    """Trace a network and find the layers whose output channels may be cut.

    Args:
        model: the network in eval mode, parametrizations removed; it is run once and not modified.
        args: positional inputs to run it on.
        kwargs: inputs by name.
        fixed: layers and normalisations that must stay as they are, with the reason.
    """
    fixed = fixed or {}
    names = [name for name, module in model.named_modules() if kind_of(module) is not None]
    if kind_of(model) is not None:
        return Wiring({}, {}, {"": "it is the whole network: its output is the network's"})
    try:
        graph, shapes = _trace(model, args, kwargs)
    except Exception as error:  # whatever a user's forward raises while traced
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Wiring({}, {}, dict.fromkeys(names, f"the network cannot be traced: {first}"))
    return _Walk(model, graph, shapes, fixed).wiring(names)


def _trace(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[fx.Graph, dict[fx.Node, torch.Size]]:
    signature = inspect.signature(model.forward)
    bound = signature.bind(*args, **kwargs)
    given = dict(bound.arguments)
    constants = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        value = given.get(name, parameter.default)
        if name not in given or value is None or isinstance(value, bool | int | float | str):
            constants[name] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = _Tracer().trace(model, concrete_args=constants or None)
        runner = _Shapes(model, graph)
        runner.run(*_placeholder_values(signature, given))
    return graph, runner.shapes


def _placeholder_values(signature: inspect.Signature, given: Mapping[str, Any]) -> list[Any]:
    """The inputs in the order of the traced graph's placeholders: named ones, then ``*args``."""
    values, rest = [], []
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = list(given.get(name, ()))
        elif parameter.kind is not parameter.VAR_KEYWORD:
            values.append(given.get(name, parameter.default))
    return values + rest


class _Walk:
    """Follows every layer's output channels forward."""

    def __init__(
        self, model: nn.Module, graph: fx.Graph, shapes: dict[fx.Node, torch.Size], fixed: Mapping[str, str]
    ) -> None:
        self.modules = dict(model.named_modules())
        self.shapes = shapes
        self.fixed = fixed
        self.calls: dict[str, list[fx.Node]] = {}
        for node in graph.nodes:
            if node.op == "call_module":
                self.calls.setdefault(node.target, []).append(node)

    def wiring(self, names: list[str]) -> Wiring:
        links: dict[str, tuple[Link, ...]] = {}
        norms: dict[str, tuple[tuple[str, int], ...]] = {}
        reasons: dict[str, str] = {}
        for name in names:
            try:
                found: list[Link] = []
                passed: list[tuple[str, int]] = []
                self._start(name, found, passed)
                links[name], norms[name] = tuple(found), tuple(passed)
            except _Stop as stop:
                reasons[name] = str(stop)
        return Wiring(links, norms, reasons)

    def _start(self, name: str, found: list[Link], passed: list[tuple[str, int]]) -> None:
        kind = kind_of(self.modules[name])
        assert kind is not None
        node = self._only_call(name)
        if kind.groups(self.modules[name]) != 1:
            raise _Stop("its output channels are made in groups")
        self._follow(node, len(self.shapes[node]) + kind.channel_dim, 1, found, passed)
        if not found:
            raise _Stop("nothing reads its output")

    def _only_call(self, name: str) -> fx.Node:
        if name in self.fixed:
            raise _Stop(self.fixed[name])
        calls = self.calls.get(name, [])
        if not calls:
            raise _Stop("it is not called in the trace (unused, or inside a module that is taken whole)")
        if len(calls) > 1:
            raise _Stop(f"it is called {len(calls)} times")
        return calls[0]

    def _follow(self, node: fx.Node, axis: int, block: int, found: list[Link], passed: list[tuple[str, int]]) -> None:
        for user in node.users:
            if self._only_asks_shape(user, axis):
                continue
            if user.op == "output":
                raise _Stop("its output is an output of the network")
            if [argument for argument in user.all_input_nodes if argument in self.shapes] != [node]:
                raise _Stop(f"its output meets another tensor in {_name(user)} (residual or concatenation)")
            if user.op == "call_module" and kind_of(self.modules[str(user.target)]) is not None:
                self._read(user, node, axis, block, found)
                continue
            after = self._through(user, node, axis, block, passed)
            if after is None:
                raise _Stop(f"its output is read by {_name(user)}, which is not known to keep channels apart")
            self._follow(user, *after, found, passed)

    def _read(self, user: fx.Node, node: fx.Node, axis: int, block: int, found: list[Link]) -> None:
        name = str(user.target)
        module, kind = self.modules[name], kind_of(self.modules[name])
        assert kind is not None
        try:
            self._only_call(name)
        except _Stop as stop:
            raise _Stop(f"its reader {name} must stay: {stop}") from None
        if kind.groups(module) != 1:
            raise _Stop(f"its reader {name} is a grouped convolution")
        if axis != len(self.shapes[node]) + kind.channel_dim:
            raise _Stop(f"its reader {name} takes another dimension as channels")
        found.append(Link(name, block))

    def _through(
        self, user: fx.Node, node: fx.Node, axis: int, block: int, passed: list[tuple[str, int]]
    ) -> tuple[int, int] | None:
        """The channels' axis and block after an operation; None when it is not understood."""
        if user not in self.shapes:  # several outputs
            return None
        module = self.modules[str(user.target)] if user.op == "call_module" else None
        if type(module) in NORMS:
            if axis != 1:
                return None
            self._only_call(str(user.target))
            passed.append((str(user.target), block))
            return axis, block
        return after(user, module, self.shapes[node], self.shapes[user], axis, block)

    def _only_asks_shape(self, user: fx.Node, axis: int) -> bool:
        """Whether a node asks for the size of other dimensions only."""
        if user.op == "call_method" and user.target == "dim":
            return True
        if user.op == "call_method" and user.target == "size" and len(user.args) + len(user.kwargs) == 2:
            return argument(user, 1, "dim", None) == 0 and axis != 0
        whole = (user.op == "call_method" and user.target == "size") or (
            user.op == "call_function" and user.target is getattr and user.args[1] == "shape"
        )
        return whole and axis != 0 and all(use.target is operator.getitem and use.args[1] == 0 for use in user.users)


def _name(node: fx.Node) -> str:
    target = node.target
    return target if isinstance(target, str) else str(getattr(target, "__name__", target))
