"""The benchmarks of exported networks and of latency."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.deployment import export, export_forms, latency


@pytest.mark.parametrize("rest", [(), (3, 2)], ids=["linear", "convolution"])
@pytest.mark.parametrize("form", export_forms.FORMS)
def test_every_form_of_a_sum_in_onnx_is_the_sum(form: str, rest: tuple[int, ...]) -> None:
    import onnxruntime

    groups = export.some_groups(20, 14, 5)
    assert sorted(map(len, groups)) != [1] * 5
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = export_forms.model(form, groups, (20, *rest))
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).integers(-8, 8, (3, 20, *rest)).astype(np.float32)
    wanted = np.stack([x[:, members].sum(1) for members in groups], 1)
    assert np.array_equal(session.run(None, {"x": x})[0], wanted)


def test_latency_targets_are_judged_from_times() -> None:
    def cell(network: str, runtime: str, batch: int, **times: float) -> dict[str, Any]:
        return {
            "network": network,
            "runtime": runtime,
            "batch": batch,
            "times": {(latency.PEER if key == "peer" else key): {"median": value} for key, value in times.items()},
        }

    sizes = {"dense": {"weights": 30, "macs": 10}, "compact": {"weights": 2, "macs": 2}}
    data = {
        "sizes": {"784-300-10": sizes, "VGG-16": sizes},
        "times": [
            cell("784-300-10", "eager", 256, dense=8.0, compact=1.0),
            cell("VGG-16", "eager", 32, dense=10.0, compact=2.4, peer=2.5),
            cell("VGG-16", "onnxruntime", 32, dense=10.0, compact=3.0, peer=2.5),
        ],
    }
    mlp, weights, macs, share, peer = latency.targets(data)
    assert (mlp["met"], mlp["worst"]) == (True, 0.125)
    assert weights["met"]
    assert macs["met"]
    assert (share["met"], share["missed"]) == (False, {"onnxruntime": 1.5})
    assert peer["missed"] == {"onnxruntime, batch 32": 1.2}
