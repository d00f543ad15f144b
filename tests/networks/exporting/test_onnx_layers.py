"""Models of single layers have the shapes and settings of their layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torch_growl.networks.compaction import SelectInputs
from torch_growl.networks.exporting.onnx_layers import onnx_layer

LAYERS = {
    "linear": (nn.Linear(6, 4), (3, 6)),
    "linear on a sequence": (nn.Linear(6, 4, bias=False), (3, 5, 6)),
    "conv": (nn.Conv2d(6, 4, 3, stride=2, padding=1), (2, 6, 9, 9)),
    "same": (nn.Conv2d(6, 4, (4, 3), padding="same", dilation=2), (2, 6, 9, 9)),
    "depthwise": (nn.Conv1d(6, 6, 3, groups=6), (2, 6, 9)),
    "volume": (nn.Conv3d(2, 4, 2), (2, 2, 4, 4, 4)),
    "transposed": (nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1), (2, 6, 5, 5)),
    "grouped transposed": (nn.ConvTranspose1d(6, 4, 3, groups=2), (2, 6, 5)),
    "selection": (SelectInputs([4, 1], -3), (2, 6, 5, 5)),
    "selection of features": (SelectInputs([4, 1, 0], -1), (2, 6)),
}


@pytest.mark.parametrize(("layer", "shape"), LAYERS.values(), ids=LAYERS)
def test_a_model_has_the_outputs_shape_of_its_layer(layer: nn.Module, shape: tuple[int, ...]) -> None:
    runtime = pytest.importorskip("onnxruntime")
    x = torch.randn(shape)
    data = onnx_layer(layer, x)
    assert data is not None
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x.numpy()})
    expected = layer(x)
    assert found.shape == expected.shape
    if isinstance(layer, SelectInputs):
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=0)


def test_other_layers_have_no_model() -> None:
    pytest.importorskip("onnx")
    assert onnx_layer(nn.Bilinear(2, 3, 4), torch.randn(2, 2)) is None
