"""Stored programs and exports take other sequence lengths and image sizes, where the network does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import torch_growl as tg
from torch_growl.errors import GrowlWarning
from torch_growl.networks.exporting.open_sizes import accepted_sizes


class Tokens(nn.Module):
    """An encoder of tokens, with a padding mask if it is given."""

    def __init__(self, longest: int = 64) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(50, 12), nn.Parameter(torch.randn(longest, 12))
        self.encoder = nn.TransformerEncoderLayer(12, 4, 16, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.embedding(ids) + self.positions[: ids.shape[1]]
        y: Tensor = self.head(self.encoder(x, src_key_padding_mask=mask))
        return y


class Masked(nn.Module):
    """A square mask, whose two dimensions change with the length."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.head = nn.MultiheadAttention(12, 3, batch_first=True), nn.Linear(12, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y: Tensor = self.head(self.mix(x, x, x, attn_mask=mask, need_weights=False)[0])
        return y


class Halves(nn.Module):
    """A network that takes any even length, so torch.export fixes the one of the example."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(x)
        return y + (1 if x.shape[1] == 8 else 2)


def ids(batch: int, length: int) -> tuple[Tensor, Tensor]:
    return torch.randint(0, 50, (batch, length)), torch.arange(length).expand(batch, -1) >= length - 2


def test_sizes_are_open_where_the_network_runs_with_others() -> None:
    image = torch.randn(2, 3, 8, 8)
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    flat = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    for model, inputs, wanted in (
        (pooled, (image,), [((0, 2),), ((0, 3),)]),
        (flat, (image,), []),
        (Tokens(), ids(3, 8), [((0, 1), (1, 1))]),
        (Masked(), (torch.randn(2, 5, 12), torch.zeros(5, 5, dtype=torch.bool)), [((0, 1), (1, 0), (1, 1))]),
    ):
        found = accepted_sizes((inputs, {}), lambda given, model=model: model(*given[0]))
        assert [size.places for size in found] == wanted


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
def test_a_stored_program_and_exports_take_other_lengths(masked: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Tokens().eval()
    with torch.no_grad():
        model.encoder.linear1.weight[:, 4:] = 0
    given = ids(3, 8) if masked else ids(3, 8)[:1]
    small = tg.compact(model, given)
    tg.save(small, tmp_path / "f.safetensors", example_inputs=given)
    tg.export_program(small, given, tmp_path / "e.pt2")
    programs = [tg.load_program(tmp_path / "f.safetensors"), torch.export.load(tmp_path / "e.pt2").module()]
    for batch, length in ((1, 5), (4, 13), (2, 64)):
        other = ids(batch, length) if masked else ids(batch, length)[:1]
        for program in programs:
            with torch.no_grad():
                torch.testing.assert_close(program(*other), model(*other), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_an_onnx_file_names_its_open_sizes(tmp_path: Path) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model = Tokens().eval()
    tg.export_onnx(model, ids(3, 8)[:1], tmp_path / "f.onnx")
    graph = onnx.load(tmp_path / "f.onnx").graph
    names = [[d.dim_param for d in value.type.tensor_type.shape.dim] for value in (*graph.input, *graph.output)]
    assert names == [["batch", "size_1_of_input_0"], ["batch", "size_1_of_input_0", ""]]
    session = onnxruntime.InferenceSession(tmp_path / "f.onnx", providers=["CPUExecutionProvider"])
    other = ids(2, 11)[0]
    found = torch.from_numpy(session.run(None, {graph.input[0].name: other.numpy()})[0])
    torch.testing.assert_close(found, model(other).detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_size_that_torch_export_fixes_is_named_in_a_warning(tmp_path: Path) -> None:
    x = torch.randn(3, 8, 12)
    message = r"dimension 1 of input 0 \(size 8\) is fixed: torch.export cannot trace"
    with pytest.warns(GrowlWarning, match=message) as w:
        written = tg.export_program(Halves(), x, tmp_path / "e.pt2")
    assert w[0].filename == __file__
    assert written.dynamic_batch
    with pytest.warns(GrowlWarning, match=r"dimension 1 of input 0 \(size 8\) is fixed") as w:
        tg.save(Halves(), tmp_path / "f.safetensors", example_inputs=x)
    assert w[0].filename == __file__


def test_without_an_open_batch_no_size_is_open(tmp_path: Path) -> None:
    x = torch.randn(2, 8, 12)
    model = nn.Sequential(nn.Linear(12, 4))
    tg.export_program(model, x, tmp_path / "e.pt2", dynamic_batch=False)
    with pytest.raises(Exception, match=r"8|shape"):
        torch.export.load(tmp_path / "e.pt2").module()(torch.randn(2, 9, 12))
