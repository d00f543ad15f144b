"""A path holds what compaction would leave at each trial; it is kept in a file, from which another training goes on."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.digits_networks import accuracy, digits, mlp, train
from torch_growl.checksums import sealed_json
from torch_growl.networks.paths import PruningPath
from torch_growl.networks.paths.path import PathPoint


def test_a_point_counts_the_compact_network_of_that_moment() -> None:
    torch.manual_seed(0)
    model, x, found = mlp(), digits()[0][:4], {}

    def validate(network: nn.Module) -> float:
        score = 100 * accuracy(network)
        if growl.nonzero() == rows:  # no row has gone
            return score
        measured = tg.measure(tg.compact(network, x), x, latency=False)
        found[growl.progress.step] = (measured.weights, measured.macs, measured.bytes, growl.nonzero(), score)
        return score

    target = tg.Target(accuracy_drop=20, validate=validate, reference=90)
    growl = tg.GrOWL(model, target=target, example_inputs=x, min_rows=2)
    rows = growl.nonzero()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    growl.attach(optimizer, steps=200)
    train(model, optimizer, 150)
    points = growl.progress.points
    assert len(points) > 2
    for point in points:
        assert (point.weights, point.macs, point.bytes, point.rows, point.score) == found[point.step]


PATH = PruningPath(
    1000,
    98.0,
    True,
    {"0": 64, "2": 64, "4": 32},
    {"0": 3.0, "2": 1.5, "4": 0.5},
    (
        PathPoint(100, 700, 690, 2800, {"0": 64, "2": 63, "4": 30}, {"0": [], "2": [5], "4": [0, 31]}, 97.9, True),
        PathPoint(200, 400, 390, 1600, {"0": 62, "2": 63, "4": 32}, {"0": [1, 2], "2": [9], "4": []}, 97.4, False),
        PathPoint(300, 500, 490, 2000, {"0": 63, "2": 63, "4": 32}, {"0": [7], "2": [63], "4": []}, 97.8, True),
    ),
)


def test_a_path_is_the_same_from_its_file(tmp_path: Path) -> None:
    PATH.save(tmp_path / "path.json")
    assert PruningPath.load(tmp_path / "path.json") == PATH
    channels = replace(PATH, side="channel")
    channels.save(tmp_path / "path.json")
    assert PruningPath.load(tmp_path / "path.json") == channels
    earlier = {name: value for name, value in asdict(PATH).items() if name != "side"}
    (tmp_path / "path.json").write_text(sealed_json({"growl_path": 1, **earlier}))
    assert PruningPath.load(tmp_path / "path.json") == PATH


@pytest.mark.parametrize(("drop", "share"), [(0.05, None), (0.15, 0.7), (0.3, 0.5), (0.7, 0.4)])
def test_a_path_gives_the_smallest_network_within_a_drop(drop: float, share: float | None) -> None:
    assert PATH.share(drop) == share
    less = replace(PATH, higher_is_better=False, points=tuple(replace(p, score=196 - p.score) for p in PATH.points))
    assert less.share(drop) == share


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('"step": 100', '"step": 101', "damaged"),
        ('"growl_path": 1', '"growl_path": 2', "damaged|no file that"),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, old: str, new: str, text: str) -> None:
    PATH.save(tmp_path / "path.json")
    data = (tmp_path / "path.json").read_text()
    assert old in data
    (tmp_path / "path.json").write_text(data.replace(old, new))
    with pytest.raises(tg.GrowlError, match=text):
        PruningPath.load(tmp_path / "path.json")


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"growl_path": 2}, "no file that PruningPath.save wrote"),
        ({"weights": "many"}, "weights is 'many'"),
        ({"side": "output"}, "side is 'output'"),
        ({"more": 1}, "must have the fields"),
        ({"rows": {"0": -1}}, "rows is"),
        ({"points": [{"step": 1}]}, "points: must have the fields"),
        ({"reference": None}, "reference is None"),
        ({"points": [{**asdict(PATH)["points"][0], "gone": {"0": [64]}}]}, "gone has rows beyond those of a layer"),
        ({"points": [{**asdict(PATH)["points"][0], "gone": {"0": 3}}]}, "gone is {'0': 3}"),
    ],
)
def test_another_file_is_refused_though_its_checksum_is_right(
    tmp_path: Path, changed: dict[str, object], text: str
) -> None:
    (tmp_path / "path.json").write_text(sealed_json({"growl_path": 1, **asdict(PATH), **changed}))
    with pytest.raises(tg.GrowlError, match=text):
        PruningPath.load(tmp_path / "path.json")


def test_another_training_begins_where_the_path_allows() -> None:
    torch.manual_seed(0)
    dense, x = mlp(), digits()[0][:4]
    train(dense, torch.optim.SGD(dense.parameters(), lr=0.1, momentum=0.9), 100)

    def start(drop: float, path: PruningPath | None) -> tg.GrOWL:
        model = copy.deepcopy(dense)
        target = tg.Target(accuracy_drop=drop, validate=lambda network: 100 * accuracy(network))
        growl = tg.GrOWL(model, target=target, example_inputs=x, min_rows=2, path=path)
        handle = growl.attach(optimizer := torch.optim.SGD(model.parameters(), lr=0.01), steps=200)
        train(model, optimizer, 75)
        handle.remove()
        return growl

    first = start(50.0, None).path
    assert first.side == "input"
    assert first.rows == {"0": 64, "2": 64, "4": 32}
    for point, flags in zip(first.points, first.removed(), strict=True):
        assert {name: 64 - rows.sum() if name != "4" else 32 - rows.sum() for name, rows in flags.items()} == point.rows
    assert set(first.sensitivity) == {"0", "2", "4"}
    assert max(first.sensitivity.values()) > 1
    known = replace(first, points=(replace(PATH.points[0], weights=round(0.3 * first.weights), score=first.reference),))
    share = start(50.0, known).path.points[0].weights / first.weights
    assert 0.27 < share <= 0.3
    with pytest.raises(tg.GrowlError, match="give the path of this network"):
        start(50.0, replace(first, rows={"0": 64}))
    with pytest.raises(tg.GrowlError, match="path needs"):
        _ = tg.GrOWL(dense).path
