"""Compact networks under torch's other tools: ``torch.compile`` and torchao's quantization."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.exported_networks import compact_conv, compact_mlp


@pytest.mark.slow
@pytest.mark.parametrize(("make", "backend"), [(compact_mlp, "aot_eager"), (compact_conv, "inductor")])
def test_torch_compile_takes_the_network_in_one_graph(make: Any, backend: str) -> None:
    small, x = make()
    compiled = torch.compile(small, fullgraph=True, backend=backend)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), small(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
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
