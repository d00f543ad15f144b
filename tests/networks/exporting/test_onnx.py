"""Exports to ONNX, run by onnxruntime."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import torch_growl as tg
from tests.support.exported_networks import ConvNet, compact_conv, compact_mlp, onnx_answers, tied_
from torch_growl.application.models.perceptrons import mnist_mlp
from torch_growl.networks.compaction.inputs import SumInputs
from torch_growl.networks.exporting.exported import Exported


def stored(path: Path) -> int:
    """Bytes of all constants in an ONNX file, those inside nodes included."""
    graph = onnx.load(path).graph
    inside = [a.t for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.TENSOR]
    return sum(numpy_helper.to_array(value).nbytes for value in (*graph.initializer, *inside))


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


@pytest.mark.slow
def test_onnx_gives_the_same_outputs_at_any_batch_size(case: Case) -> None:
    written = case.written
    assert written.dynamic_batch
    assert written.difference < 1e-5
    assert written.bytes == written.path.stat().st_size
    assert str(written.path) in str(written)
    for size in (1, 4, 33):
        fresh = torch.randn(size, *case.x.shape[1:])
        wanted = case.small(fresh).detach()
        (found,) = onnx_answers(written.path, fresh)
        assert float((found - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())
    assert [path.name for path in written.path.parent.iterdir()] == ["small.onnx"]


@pytest.mark.slow
def test_the_given_network_is_left_as_it_was(case: Case) -> None:
    assert case.training_after
    assert case.unchanged


@pytest.mark.slow
def test_constant_folding_does_not_restore_the_full_weights(case: Case, tmp_path: Path) -> None:
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


@pytest.mark.slow
def test_the_file_names_the_batch_and_holds_no_paths(case: Case) -> None:
    proto = onnx.load(case.written.path)
    (entry,), (answer,) = proto.graph.input, proto.graph.output
    assert entry.type.tensor_type.shape.dim[0].dim_param == answer.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [item.version for item in proto.opset_import] == [20 if isinstance(case.dense, ConvNet) else 18]
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)
    data = case.written.path.read_bytes()
    assert b".py" not in data
    assert str(Path(tg.__file__).parent).encode() not in data


@pytest.mark.slow
def test_sums_are_right_with_several_threads(tmp_path: Path) -> None:
    # onnxruntime's ScatterND adds several members of one group at once and loses some: here almost always
    small, _ = compact_mlp(600, 7, 16)
    written = tg.export_onnx(small, torch.zeros(2, 600), tmp_path / "small.onnx")
    for threads in (2, 8):
        for _ in range(10):
            x = torch.randint(-8, 8, (512, 600)).float()
            wanted = small(x).detach()
            (found,) = onnx_answers(written.path, x, threads=threads)
            assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


@pytest.mark.slow
def test_torchs_own_exporter_writes_the_same_form(tmp_path: Path) -> None:
    small, x = compact_mlp()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        torch.onnx.export(small, (x,), tmp_path / "small.onnx", dynamo=True, verbose=False, external_data=False)
    assert not {node.op_type for node in onnx.load(tmp_path / "small.onnx").graph.node} & {"ScatterND", "MatMul"}
    torch.testing.assert_close(onnx_answers(tmp_path / "small.onnx", x)[0], small(x).detach())


@pytest.mark.slow
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
    found = onnx_answers(written.path, *inputs.values())
    torch.testing.assert_close(found[0], small(**inputs).last_hidden_state.detach(), rtol=1e-4, atol=1e-5)
