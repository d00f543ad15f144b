"""All exports: inputs and outputs of every nesting, what is refused, and that nothing is then left behind."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import torch_growl as tg
from tests.support.exported_networks import onnx_answers, tied_
from torch_growl.errors import ExportError, GrowlWarning, InvalidTypeError, InvalidValueError


class Two(nn.Module):
    """Two inputs, an output of several tensors, one of them not floating, and a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(12, 8), nn.Linear(6, 8)

    def forward(self, a: Tensor, b: Tensor, scale: float = 1.0) -> dict[str, Any]:
        left, right = self.left(a), self.right(b)
        return {"sum": left + scale * right, "parts": (left, right), "best": (left + right).argmax(-1)}


@pytest.mark.slow
@pytest.mark.parametrize("given", ["tuple", "dict"])
def test_several_inputs_and_nested_outputs(given: str, tmp_path: Path) -> None:
    model = Two().eval()
    tied_(model.left, 3)
    a, b = torch.randn(3, 12), torch.randn(3, 6)
    inputs: Any = (a, b) if given == "tuple" else {"b": b, "a": a}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GrowlWarning)
        small = tg.compact(model, inputs)
    written = tg.export_onnx(small, inputs, tmp_path / "two.onnx")
    assert written.dynamic_batch
    found = onnx_answers(written.path, *((a, b) if given == "tuple" else (b, a)))
    assert [tuple(value.shape) for value in found] == [(3, 8), (3, 8), (3, 8), (3,)]
    program = tg.export_program(small, inputs, tmp_path / "two.pt2")
    assert program.dynamic_batch
    loaded = torch.export.load(program.path).module()
    many = (torch.randn(5, 12), torch.randn(5, 6))
    answer = loaded(*many) if given == "tuple" else loaded(a=many[0], b=many[1])
    torch.testing.assert_close(answer, small(*many))


class OfTheTime(nn.Module):
    """Gives other outputs when it is traced."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * (1.5 if torch.compiler.is_exporting() else 1.0)  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("write", [tg.export_onnx, tg.export_program])
def test_other_outputs_are_refused_and_an_existing_file_stays(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "small.file"
    path.write_text("mine")
    model, x = OfTheTime(), torch.randn(2, 6)
    largest = float(model(x).detach().abs().max())
    gap, scale = (f"{value:.3g}".replace("+", r"\+") for value in (0.5 * largest, largest))
    message = rf"outputs in .* differ from the network's: output differs by {gap}, more than 0.0001 × .* {scale}$"
    with pytest.raises(ExportError, match=message):
        write(model, x, path)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("small.file", "mine")]


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + torch.arange(int(x.shape[0])).sum().item() if x.shape[0] == 3 else self.layer(x)  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("write", [tg.export_onnx, tg.export_program])
def test_a_batch_size_fixed_by_the_networks_code_gives_a_warning(write: Any, tmp_path: Path) -> None:
    model = Fixed().eval()
    with pytest.warns(GrowlWarning, match="the batch size is fixed at 3") as said:
        written = write(model, torch.randn(3, 6), tmp_path / "fixed.file")
    assert said[0].filename == __file__
    assert not written.dynamic_batch
    assert write(model, torch.randn(3, 6), tmp_path / "fixed.file", dynamic_batch=False).bytes == written.bytes


@pytest.mark.slow
@pytest.mark.parametrize("write", [tg.export_onnx, tg.export_program, tg.export_executorch])
def test_bad_arguments_are_refused(write: Any, tmp_path: Path) -> None:
    if write is tg.export_executorch:
        pytest.importorskip("executorch")
    model, x = nn.Linear(6, 4), torch.randn(2, 6)
    bad: list[tuple[Any, Any, Any, dict[str, Any], type[Exception], str]] = [
        (3, x, "a.file", {}, InvalidTypeError, "model must be"),
        (model, "x", "a.file", {}, InvalidTypeError, "example_inputs must be"),
        (model, torch.randn(2, 5), "a.file", {}, ExportError, "does not run on inputs of batch size 2"),
        (model, x, "nowhere/a.file", {}, InvalidValueError, "a folder that exists"),
        (model, x, "", {}, InvalidValueError, "path must be a file"),
        (model, x, "a.file", {"tolerance": 0.0}, InvalidValueError, "tolerance"),
    ]
    if write is not tg.export_executorch:
        bad.append((model, torch.randn(0, 6), "a.file", {}, InvalidValueError, "batch dimension"))
    if write is tg.export_onnx:
        bad.append((model, x, "a.file", {"opset": 17}, InvalidValueError, "opset"))
        bad.append((nn.Linear(6, 4).bfloat16(), x.bfloat16(), "a.file", {}, ExportError, "bfloat16"))
    for given, inputs, name, options, kind, words in bad:
        with pytest.raises(kind, match=words):
            write(given, inputs, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []
