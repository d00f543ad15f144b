"""Exports, each in the runtime it is for: real onnxruntime, torch.export, ExecuTorch, torch.compile and torchao."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import torch_growl as tg
from tests.support.pruned_networks import set_rows_, zero_and_tie_
from torch_growl.application.models.convolutional import lenet5, vgg16
from torch_growl.application.models.perceptrons import mnist_mlp
from torch_growl.errors import ExportError, GrowlWarning, InvalidTypeError, InvalidValueError
from torch_growl.networks.compaction.inputs import SumInputs
from torch_growl.networks.exporting.exported import Exported
from torch_growl.networks.layers import rows_of


class ConvNet(nn.Module):
    """A convolution, its normalisation, and layers whose inputs are summed before a convolution and a Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 24, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(24, 40), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv2(torch.relu(self.bn(self.conv1(x)))))
        return self.fc2(torch.relu(self.fc1(x.mean((2, 3)))))  # type: ignore[no-any-return]


def tied_(layer: nn.Module, groups: int) -> None:
    """Tie a layer's rows i, i + groups, i + 2 groups, … and zero every fifth row."""
    count = len(rows_of(layer))
    set_rows_(layer, zero=range(4, count, 5), tied=[range(first, count, groups) for first in range(groups)])


def compact_mlp(inputs: int = 784, groups: int = 33, hidden: int = 300) -> tuple[nn.Module, Tensor]:
    model = mnist_mlp(hidden=[hidden]) if inputs == 784 else nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU())
    first = next(module for module in model.modules() if isinstance(module, nn.Linear))
    tied_(first, groups)
    x = torch.randn(4, inputs)
    return tg.compact(model.eval(), x), x


def compact_conv() -> tuple[nn.Module, Tensor]:
    model = ConvNet().eval()
    tied_(model.conv2, 6)
    tied_(model.fc1, 7)
    tied_(model.fc2, 9)
    x = torch.randn(4, 3, 8, 8)
    small = tg.compact(model, x)
    assert {type(module) for module in small.modules()} >= {SumInputs}
    return small, x


def answers(path: Path, *inputs: Tensor, threads: int = 0) -> list[Tensor]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = {entry.name: x.numpy() for entry, x in zip(session.get_inputs(), inputs, strict=True)}
    return [torch.from_numpy(value) for value in session.run(None, given)]


def stored(path: Path) -> int:
    """Bytes of all constants in an ONNX file, those inside nodes included."""
    graph = onnx.load(path).graph
    inside = [a.t for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.TENSOR]
    return sum(numpy_helper.to_array(value).nbytes for value in (*graph.initializer, *inside))


# ── ONNX ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Case:
    """A compact network and what export_onnx made of it."""

    small: nn.Module
    x: Tensor
    dense: nn.Module
    written: Exported
    training_after: bool
    unchanged: bool


@pytest.fixture(scope="module", params=["mlp", "conv"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    torch.manual_seed(0)
    conv = request.param == "conv"
    small, x = compact_conv() if conv else compact_mlp()
    small.train()
    before = copy.deepcopy(small.state_dict())
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    written = tg.export_onnx(small, x, path, opset=20 if conv else 18)
    training = all(module.training for module in small.modules())
    unchanged = all(torch.equal(value, before[name]) for name, value in small.state_dict().items())
    unchanged &= not any(module.scatter_free for module in small.modules() if isinstance(module, SumInputs))
    return Case(small.eval(), x, ConvNet() if conv else mnist_mlp(), written, training, unchanged)


def test_onnx_gives_the_same_outputs_at_any_batch_size(case: Case) -> None:
    written = case.written
    assert written.dynamic_batch
    assert written.difference < 1e-5
    assert written.bytes == written.path.stat().st_size
    assert str(written.path) in str(written)
    for size in (1, 4, 33):
        fresh = torch.randn(size, *case.x.shape[1:])
        wanted = case.small(fresh).detach()
        (found,) = answers(written.path, fresh)
        assert float((found - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())
    assert [path.name for path in written.path.parent.iterdir()] == ["small.onnx"]


def test_the_given_network_is_left_as_it_was(case: Case) -> None:
    assert case.training_after
    assert case.unchanged


def test_constant_folding_does_not_undo_the_sharing(case: Case, tmp_path: Path) -> None:
    from onnxscript import optimizer

    path = case.written.path
    sums = [module for module in case.small.modules() if isinstance(module, SumInputs)]
    assert sums
    indices = sum(8 * _indices(module.groups) for module in sums)  # torch writes them as int64
    shapes = 64 * len(onnx.load(path).graph.node)  # sizes, axes and paddings
    weights = sum(value.nbytes for value in case.small.state_dict().values())
    assert weights <= stored(path) <= weights + indices + shapes
    onnx.save(optimizer.optimize(onnx.load(path)), tmp_path / "onnxscript.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(tmp_path / "onnxruntime.onnx")
    options.log_severity_level = 3  # it warns that the file it saves is for this machine
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for optimized in ("onnxscript.onnx", "onnxruntime.onnx"):
        assert 0 < stored(tmp_path / optimized) <= weights + indices + shapes + padding(case.small), optimized
    dense = sum(value.nbytes for value in case.dense.state_dict().values())
    assert weights + indices + shapes + padding(case.small) < dense  # the dense weights again would be found


def _indices(groups: Sequence[Sequence[int]]) -> int:
    """How many indices summing in pairs needs at most: half as many every time, and one for every group."""
    times = max(map(len, groups)).bit_length()
    return 2 * sum(map(len, groups)) + (times + 1) * len(groups)


def padding(network: nn.Module) -> int:
    """What onnxruntime adds to convolutions, whose channels it rounds up to whole vectors of 8."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    rounded = [
        -(-module.out_channels // 8) * 8 * (-(-module.in_channels // 8) * 8 * module.weight[0, 0].numel() + 1)
        for module in convolutions
    ]
    return 4 * sum(rounded) - sum(module.weight.nbytes for module in convolutions)


def test_the_file_names_the_batch_and_tells_nothing_of_the_machine(case: Case) -> None:
    proto = onnx.load(case.written.path)
    (entry,), (answer,) = proto.graph.input, proto.graph.output
    assert entry.type.tensor_type.shape.dim[0].dim_param == answer.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [item.version for item in proto.opset_import] == [20 if isinstance(case.dense, ConvNet) else 18]
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)
    data = case.written.path.read_bytes()
    assert b".py" not in data
    assert str(Path(tg.__file__).parent).encode() not in data


def test_sums_are_right_with_several_threads(tmp_path: Path) -> None:
    # onnxruntime's ScatterND adds several members of one group at once and loses some: here almost always
    small, _ = compact_mlp(600, 7, 16)
    written = tg.export_onnx(small, torch.zeros(2, 600), tmp_path / "small.onnx")
    for threads in (2, 8):
        for _ in range(10):
            x = torch.randint(-8, 8, (512, 600)).float()
            wanted = small(x).detach()
            (found,) = answers(written.path, x, threads=threads)
            assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


def test_torchs_own_exporter_writes_the_same_form(tmp_path: Path) -> None:
    small, x = compact_mlp()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        torch.onnx.export(small, (x,), tmp_path / "small.onnx", dynamo=True, verbose=False, external_data=False)
    assert not {node.op_type for node in onnx.load(tmp_path / "small.onnx").graph.node} & {"ScatterND", "MatMul"}
    torch.testing.assert_close(answers(tmp_path / "small.onnx", x)[0], small(x).detach())


class Two(nn.Module):
    """Two inputs, an output of several tensors, one of them not floating, and a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(12, 8), nn.Linear(6, 8)

    def forward(self, a: Tensor, b: Tensor, scale: float = 1.0) -> dict[str, Any]:
        left, right = self.left(a), self.right(b)
        return {"sum": left + scale * right, "parts": (left, right), "best": (left + right).argmax(-1)}


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
    found = answers(written.path, *((a, b) if given == "tuple" else (b, a)))
    assert [tuple(value.shape) for value in found] == [(3, 8), (3, 8), (3, 8), (3,)]
    program = tg.export_program(small, inputs, tmp_path / "two.pt2")
    assert program.dynamic_batch
    loaded = torch.export.load(program.path).module()
    many = (torch.randn(5, 12), torch.randn(5, 6))
    answer = loaded(*many) if given == "tuple" else loaded(a=many[0], b=many[1])
    torch.testing.assert_close(answer, small(*many))


def test_a_transformer_with_its_own_output_class(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, vocab_size=50)
    model = BertModel(config).eval()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            tied_(module, 9)
    inputs = {"input_ids": torch.randint(50, (2, 7)), "attention_mask": torch.ones(2, 7, dtype=torch.int64)}
    small = tg.compact(model, inputs, full=False)
    written = tg.export_onnx(small, inputs, tmp_path / "bert.onnx")
    assert written.dynamic_batch
    found = answers(written.path, *inputs.values())
    torch.testing.assert_close(found[0], small(**inputs).last_hidden_state.detach(), rtol=1e-4, atol=1e-5)


# ── what cannot be ──────────────────────────────────────────────────────────────────────────────────────────────────


class OfTheTime(nn.Module):
    """Answers otherwise when it is traced: what verification is for."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * (1.5 if torch.compiler.is_exporting() else 1.0)  # type: ignore[no-any-return]


@pytest.mark.parametrize("write", [tg.export_onnx, tg.export_program])
def test_other_outputs_are_refused_and_what_was_there_stays(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "small.file"
    path.write_text("mine")
    model, x = OfTheTime(), torch.randn(2, 6)
    largest = float(model(x).detach().abs().max())
    gap, scale = (f"{value:.3g}".replace("+", r"\+") for value in (0.5 * largest, largest))
    message = rf"outputs in .* differ from the network's: output differs by {gap}, more than 0.0001 × .* {scale};"
    with pytest.raises(ExportError, match=message):
        write(model, x, path)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("small.file", "mine")]


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + torch.arange(int(x.shape[0])).sum().item() if x.shape[0] == 3 else self.layer(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("write", [tg.export_onnx, tg.export_program])
def test_a_batch_size_that_the_code_fixes_is_kept_with_a_warning(write: Any, tmp_path: Path) -> None:
    model = Fixed().eval()
    with pytest.warns(GrowlWarning, match="the batch size is fixed at 3") as said:
        written = write(model, torch.randn(3, 6), tmp_path / "fixed.file")
    assert said[0].filename == __file__
    assert not written.dynamic_batch
    assert write(model, torch.randn(3, 6), tmp_path / "fixed.file", dynamic_batch=False).bytes == written.bytes


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


@pytest.mark.parametrize(
    ("module", "write", "extra"),
    [("onnxscript", tg.export_onnx, "onnx"), ("executorch", tg.export_executorch, "executorch")],
)
def test_a_missing_extra_is_named(
    module: str, write: Any, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for loaded in [name for name in sys.modules if name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, loaded)  # other tests may have imported it
    monkeypatch.setitem(sys.modules, module, None)  # what Python does for a package that is not there
    with pytest.raises(ExportError, match=rf"^{module}\S* cannot be imported; .*torch-growl\[{extra}\]"):
        write(nn.Linear(6, 4), torch.randn(2, 6), tmp_path / "a.file")
    assert list(tmp_path.iterdir()) == []


# ── torch.export and ExecuTorch ─────────────────────────────────────────────────────────────────────────────────────


def test_a_program_is_loaded_without_this_package(tmp_path: Path) -> None:
    import subprocess

    small, x = compact_conv()
    written = tg.export_program(small, x, tmp_path / "small.pt2")
    assert written.dynamic_batch
    data = written.path.read_bytes()
    assert str(Path(tg.__file__).parent).encode() not in data
    assert str(Path(__file__).parent).encode() not in data
    assert x.numpy().tobytes() not in data
    torch.save({"x": x, "y": small(x).detach()}, tmp_path / "pair.pt")
    code = (
        "import sys, torch\n"
        f"pair = torch.load({str(tmp_path / 'pair.pt')!r})\n"
        f"network = torch.export.load({str(written.path)!r}).module()\n"
        "torch.testing.assert_close(network(pair['x']), pair['y'])\n"
        "torch.testing.assert_close(network(pair['x'][:1]), pair['y'][:1])\n"
        "assert not any(name.startswith('torch_growl') for name in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


EXECUTORCH = {
    "mlp": lambda: (mnist_mlp(), (2, 784)),
    "lenet5": lambda: (lenet5(), (1, 1, 28, 28)),
    "vgg16": lambda: (vgg16(width=0.125), (1, 3, 32, 32)),
}


@pytest.mark.parametrize("name", ["mlp", "lenet5", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_executorch_runs_the_reference_networks(name: str, tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    made, shape = EXECUTORCH[name]()
    blocks = {"lenet5": 16}.get(name, 1)
    x = torch.randn(shape)
    small = tg.compact(zero_and_tie_(made, blocks).eval(), x)
    written = tg.export_executorch(small, x, tmp_path / "small.pte")
    assert written.difference <= 1e-4
    assert not written.dynamic_batch
    assert 0 < written.bytes < sum(value.nbytes for value in made.state_dict().values())


# ── torch.compile and torchao ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("make", "backend"), [(compact_mlp, "aot_eager"), (compact_conv, "inductor")])
def test_torch_compile_takes_the_network_in_one_graph(make: Any, backend: str) -> None:
    small, x = make()
    compiled = torch.compile(small, fullgraph=True, backend=backend)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), small(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activations", [False, True], ids=["weights", "activations too"])
@pytest.mark.parametrize("make", [compact_mlp, compact_conv])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torchao", "ignore::UserWarning:torchao")
def test_int8_quantization_stacks_on_the_compact_network(make: Any, activations: bool) -> None:
    pytest.importorskip("torchao")
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_

    small, x = make()
    wanted = small(x).detach()
    before = stored_bytes(small)
    quantize_(small, Int8DynamicActivationInt8WeightConfig() if activations else Int8WeightOnlyConfig())
    found = small(x).detach()
    difference = float((found - wanted).abs().max()) / float(wanted.abs().max())
    assert 0 < difference < 0.05  # half a step of 127 in every factor, averaged over the inputs
    linear = [module for module in small.modules() if isinstance(module, nn.Linear)]
    weights = sum(module.weight.numel() for module in linear)
    scales = 16 * sum(module.out_features for module in linear)
    assert before - 3 * weights <= stored_bytes(small) <= before - 3 * weights + scales


def stored_bytes(network: nn.Module) -> int:
    """Bytes of everything in a network's state, down to the plain tensors that a quantized one is made of."""

    def size(value: Any) -> int:
        if type(value) in (Tensor, nn.Parameter) and not hasattr(value, "__tensor_flatten__"):
            return int(value.nbytes)
        names, _ = value.__tensor_flatten__()
        return sum(size(getattr(value, name)) for name in names)

    return sum(size(value) for value in network.state_dict().values())
