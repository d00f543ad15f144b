"""Every public function that takes a network refuses those without values or Python code, and copies hard ones."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import torch_growl as tg
from torch_growl.errors import CompactionError, GrowlError, GrowlWarning, InvalidTypeError, LayerError


def example() -> Tensor:
    return torch.randn(4, 12)


def plain() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model[2].weight[:, 4:] = 0
    return model


def pair() -> tuple[nn.Module, nn.Module]:
    model = plain()
    return model, tg.compact(model, example())


def stored(path: Path) -> Path:
    tg.save(tg.compact(plain(), example()), path / "f")
    return path / "f"


Call = Callable[[Any, Path], Any]
# Every public function with a network among its arguments, called with it.
CALLS: dict[str, Call] = {
    "GrOWL": lambda m, p: tg.GrOWL(m),
    "find_tying": lambda m, p: tg.find_tying(m),
    "tie_": lambda m, p: tg.tie_(m, tg.find_tying(plain(), ["0"])),
    "untie_": lambda m, p: tg.untie_(m),
    "compact": lambda m, p: tg.compact(m, example()),
    "compact_like": lambda m, p: tg.compact_like(m, pair()[1]),
    "compact_optimizer": lambda m, p: tg.compact_optimizer(torch.optim.SGD(m.parameters()), m, pair()[1]),
    "compensate_": lambda m, p: tg.compensate_(plain(), m, [example(), example()]),
    "recalibrate_": lambda m, p: tg.recalibrate_(m, [example(), example()]),
    "shrink": lambda m, p: tg.shrink(m, [example(), example()], tg.Target(weights=0.9)),
    "doctor": lambda m, p: tg.doctor(m, example()),
    "measure": lambda m, p: tg.measure(m, example(), latency=False),
    "save": lambda m, p: tg.save(m, p / "g"),
    "load": lambda m, p: tg.load(stored(p), m),
    "expand": lambda m, p: tg.expand(pair()[1], m),
    "load_dense": lambda m, p: tg.load_dense(stored(p), m),
    "export_onnx": lambda m, p: tg.export_onnx(m, example(), p / "e"),
    "export_program": lambda m, p: tg.export_program(m, example(), p / "e"),
    "export_executorch": lambda m, p: tg.export_executorch(m, example(), p / "e"),
    "plot_rows": lambda m, p: tg.plot_rows(m),
}
# The first lists such layers with the reason, the second reads a record only, the third takes a number as dense.
OTHERS = {"inspect_layers", "structure_of", "plot_curve"}
COPYING = [
    pytest.param(name, marks=pytest.mark.slow) if name in ("export_onnx", "export_executorch") else name
    for name in CALLS
    if name not in ("GrOWL", "find_tying", "tie_", "untie_", "save", "plot_rows", "recalibrate_")
]


def script() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return nn.Sequential(nn.Linear(12, 8), torch.jit.script(nn.ReLU()), nn.Linear(8, 3))


UNREADY: dict[str, tuple[Callable[[], nn.Module], type[GrowlError], str]] = {
    "TorchScript": (script, InvalidTypeError, r"layer '1' of \w+ is TorchScript .* pass the Python network"),
    "lazy": (
        lambda: nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.LazyLinear(3)),
        LayerError,
        r"layer '2' of \w+ \(LazyLinear\) has no weight yet.* run the network once",
    ),
    "meta": (lambda: plain().to("meta"), LayerError, r"'0' of \w+ \(Linear\) has its weight on the meta .*to_empty"),
    "a buffer on meta": (
        lambda: nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8, affine=False, device="meta"), nn.Linear(8, 3)),
        LayerError,
        r"layer '1' of \w+ \(BatchNorm1d\) has its running_mean on the meta device",
    ),
}


def test_the_table_has_every_public_function_that_takes_a_network() -> None:
    names = {"model", "small", "dense"}
    public = {name: getattr(tg, name) for name in tg.__all__ if not name.startswith("Growl")}
    found = {name for name, value in public.items() if names & set(inspect.signature(value).parameters)}
    assert found == set(CALLS) | OTHERS


@pytest.mark.parametrize("unready", UNREADY)
@pytest.mark.parametrize("name", CALLS)
def test_an_unready_network_is_refused_by_name(name: str, unready: str, tmp_path: Path) -> None:
    if name in ("export_onnx", "export_executorch"):
        pytest.importorskip(name.removeprefix("export_"))
    make, kind, message = UNREADY[unready]
    with pytest.raises(kind, match=message):
        CALLS[name](make(), tmp_path)
    assert not (tmp_path / "g").exists()
    assert not (tmp_path / "e").exists()


class Keeps(nn.Sequential):
    """It keeps an activation with its graph, in a list."""

    def forward(self, x: Tensor) -> Tensor:
        self.kept = {"last": [super().forward(x)]}
        return self.kept["last"][0]


class Locked(nn.Sequential):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self[0].lock = threading.Lock()


@pytest.mark.parametrize("name", COPYING)
def test_an_activation_in_an_attribute_is_detached_in_the_copy(name: str, tmp_path: Path) -> None:
    if name in ("export_onnx", "export_executorch"):
        pytest.importorskip(name.removeprefix("export_"))
    if name.startswith("export_") and torch.__version__ < "2.9":
        pytest.skip("torch before 2.9 does not export a network that assigns an attribute")
    model = Keeps(*plain())
    y = model(example())
    CALLS[name](model, tmp_path)
    assert model.kept["last"][0] is y
    y.sum().backward()
    assert model[0].weight.grad is not None


@pytest.mark.parametrize("name", COPYING)
def test_an_attribute_that_cannot_be_copied_is_named(name: str, tmp_path: Path) -> None:
    if name in ("export_onnx", "export_executorch"):
        pytest.importorskip(name.removeprefix("export_"))
    with pytest.raises(CompactionError, match=r"cannot be copied: attribute 'lock' of '0' \(lock\): .*; remove it"):
        CALLS[name](Locked(*plain()), tmp_path)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("kind", ["a prune mask", "an old weight_norm", "an old spectral_norm"])
@pytest.mark.parametrize("trained", [False, True])
def test_masks_and_old_norms_are_made_permanent_in_the_copy_with_a_warning(kind: str, trained: bool) -> None:
    model = plain()
    if kind == "a prune mask":
        prune.ln_structured(model[2], "weight", 0.5, 2, 1)
    else:
        {"an old weight_norm": nn.utils.weight_norm, "an old spectral_norm": nn.utils.spectral_norm}[kind](model[2])
    if trained:
        model(example()).sum().backward()
        torch.optim.SGD(model.parameters(), lr=0.1).step()
    with torch.no_grad():
        model[0].weight[:, 6:] = 0  # there is something to remove
    model.eval()
    names = list(model.state_dict())
    x = example()
    with pytest.warns(GrowlWarning, match=rf"made permanent in the copy that is worked on: {kind} of '2\.weight'"):
        small = tg.compact(model, x)
    assert list(model.state_dict()) == names
    assert sorted(small[2].state_dict()) == ["bias", "weight"]
    assert small[2].in_features == (4 if kind == "a prune mask" or not trained else 8)
    torch.testing.assert_close(small(-x), model(-x))
    with pytest.warns(GrowlWarning, match="made permanent"):
        tg.doctor(model, x)


@pytest.mark.parametrize("kind", ["prune", "spectral"])
def test_a_network_with_masks_is_not_saved_as_it_is(kind: str, tmp_path: Path) -> None:
    model = plain()
    if kind == "prune":
        prune.l1_unstructured(model[0], "weight", 0.5)
    else:
        nn.utils.spectral_norm(model[0])
    with pytest.raises(LayerError, match="layer '0' has a.* make it permanent or compact the network"):
        tg.save(model, tmp_path / "f")
    assert not (tmp_path / "f").exists()


def made(name: str, path: Path) -> nn.Module:
    model = plain()
    if name == "tie_":
        return tg.tie_(model, tg.find_tying(model, ["0"]))
    if name == "untie_":
        return tg.untie_(tg.tie_(model, tg.find_tying(model, ["0"])))
    if name == "compact_like":
        return tg.compact_like(model, tg.compact(model, example()))
    found = CALLS[name](model, path)
    assert isinstance(found, nn.Module)
    return found


@pytest.mark.parametrize("name", ["compact", "compact_like", "load", "load_dense", "tie_", "untie_"])
@pytest.mark.parametrize("built_inside", [False, True])
def test_networks_made_under_inference_mode_can_be_trained(name: str, built_inside: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if built_inside and name in ("tie_", "untie_"):
        pytest.skip("a network whose own parameters are inference tensors cannot be trained, tied or not")
    model = plain()
    with torch.inference_mode():
        if built_inside:
            small = made(name, tmp_path)
        elif name in ("tie_", "untie_"):
            tg.tie_(model, tg.find_tying(model, ["0"]))
            small = tg.untie_(model) if name == "untie_" else model
        elif name == "compact_like":
            small = tg.compact_like(model, tg.compact(model, example()))
        else:
            small = CALLS[name](model, tmp_path)
        assert torch.is_inference_mode_enabled()
    assert not any(value.is_inference() for value in (*small.parameters(), *small.buffers()))
    small(example()).sum().backward()
    torch.optim.SGD(small.parameters(), lr=0.1).step()
    assert all(parameter.grad is not None for parameter in small.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torchao", "ignore::UserWarning:torchao")
def test_quantized_weights_are_refused_by_name_where_their_values_are_read(tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 3))
    quantize_(model, Int8WeightOnlyConfig())
    before = dict(model.named_parameters())
    calls: list[Callable[[], object]] = [
        lambda: tg.compact(model, example()),
        lambda: tg.measure(model, example()),
        lambda: tg.save(model, tmp_path / "f"),
        lambda: tg.shrink(model, [example(), example()], tg.Target(macs=0.5)),
    ]
    for call in calls:
        with pytest.raises(
            LayerError, match=r"layer '0' of \w+ \(Linear\) has its weight .* Int8Tensor.*quantize the result"
        ):
            call()
    assert all(value is before[name] for name, value in model.named_parameters())
    assert not (tmp_path / "f").exists()
