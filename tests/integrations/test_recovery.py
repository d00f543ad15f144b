"""Recovery without a trainer: options, the teacher's part of the loss, the average, batches for batch norms."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import torch_growl as tg
from tests.support.small_mlp import mlp, step, two_of
from torch_growl.errors import GrowlError, InvalidTypeError, InvalidValueError
from torch_growl.integrations.phases import Phases
from torch_growl.integrations.recovery import Recovery, inputs_of, training_batches
from torch_growl.networks.layers import plain_copy
from torch_growl.networks.recovery import WeightAverage

X = torch.randn(32, 10, generator=torch.Generator().manual_seed(7))


def phases(recovery: Recovery, **given: Any) -> Phases:
    usual: dict[str, Any] = {"strength": 2.0, "target": None, "leave": "regularized", "tie": None, "tie_from": 0.5}
    options = {"example_inputs": X, "warmup": 0.0, "options": {"min_rows": 2}, "recovery": recovery}
    return Phases(**{**usual, **options, **given})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"distill": 1.5}, "distill must be"),
        ({"distill": 0.5, "temperature": 0.0}, "temperature must be"),
        ({"distill_features": -1.0}, "distill_features must be"),
        ({"average": 1.0}, "average must be"),
        ({"recalibrate": 50}, "recalibrate must be"),
        ({"distill": 0.5, "teacher": "dense"}, "teacher must be"),
        ({"distill": 0.5, "task": "clasification"}, "task must be .classification"),
        ({"teacher": nn.Linear(2, 2)}, "teacher goes with distill"),
        ({"task": "regression"}, "task goes with distill"),
    ],
)
def test_options_that_do_not_fit_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(GrowlError, match=said):
        Recovery(**given)


@pytest.mark.parametrize("given", [{"average": 0.9}, {"recalibrate": True}])
def test_what_would_change_a_network_that_was_judged_is_refused(given: dict[str, Any]) -> None:
    target = tg.Target(accuracy_drop=1.0, validate=lambda model: 1.0)
    with pytest.raises(InvalidValueError, match=f"{next(iter(given))} cannot be combined with an accuracy_drop"):
        phases(Recovery(**given), strength=None, target=target)


def test_the_teachers_part_of_the_loss_is_the_formulas_and_reaches_the_network() -> None:
    student, teacher = mlp(), mlp()
    nn.init.normal_(teacher.fc1.weight)
    recovery = Recovery(distill=0.3, temperature=4.0, distill_features=2.0, teacher=teacher)
    recovery.begin(student, 0, {}, lambda: None)
    seen: list[torch.Tensor] = []
    recovery.watch(student, lambda args, kwargs, output: seen.append(recovery.loss(args, kwargs, output)))
    with recovery.in_loss():
        given = student(X)
        with torch.no_grad():
            student(X)
            student.eval()
        student(X)
    student.train()
    student(X)
    assert len(seen) == 1, "only runs in training count, where the trainer computes its loss"
    assert not teacher.training
    student.train()
    theirs = F.softmax(teacher(X) / 4, dim=1)
    divergence = (theirs * (theirs.log() - F.log_softmax(given / 4, dim=1))).sum(1).mean()
    parts = {"fc1": X, "relu": None, "bn": None, "fc2": None}
    mine = theirs_too = X
    features = []
    for name in parts:
        mine, theirs_too = student.get_submodule(name)(mine), teacher.get_submodule(name)(theirs_too)
        features.append((F.normalize(mine, dim=1) - F.normalize(theirs_too, dim=1)).square().sum(1).mean())
    expected = 0.3 * 16 * divergence + 2 * torch.stack(features).mean()
    torch.testing.assert_close(seen[0], expected)
    seen[0].backward()
    assert student.fc1.weight.grad.abs().max() > 0
    assert teacher.fc1.weight.grad is None
    recovery.remove()
    assert not student._forward_hooks
    assert not teacher.fc1._forward_hooks


def test_the_hooks_of_a_training_that_an_exception_ended_are_removed_by_the_next() -> None:
    student, teacher = mlp(), mlp()
    for _ in range(2):
        recovery = Recovery(distill=0.3, distill_features=1.0, teacher=teacher)
        recovery.begin(student, 0, {}, lambda: None)
        recovery.watch(student, lambda args, kwargs, output: None)
    assert [len(each._forward_hooks) for each in (student, student.fc1)] == [1, 1]
    assert not any(each._forward_hooks for each in plain_copy(student).modules())
    Recovery().begin(student, 0, {}, lambda: None)
    assert not any(each._forward_hooks for each in student.modules())


def test_a_target_of_the_files_size_is_reached_with_features_compared() -> None:
    recovery = Recovery(distill=0.5, distill_features=1.0, teacher=mlp())
    used = phases(recovery, strength=None, target=tg.Target(file_bytes=0.6), leave="compact")
    model, losses = mlp(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    growl = used.begin(model, [optimizer], 20, 0, lambda: X)
    recovery.watch(model, lambda args, kwargs, output: losses.append(recovery.loss(args, kwargs, output)))
    for _ in range(20):
        optimizer.zero_grad()
        with recovery.in_loss():
            model(X)
        losses.pop().backward()
        optimizer.step()
    assert growl.progress.reached
    assert 0.5 < growl.progress.left / growl.progress.dense <= 0.6, "no more is removed than is asked"


def test_without_a_teacher_it_is_the_network_as_training_began_also_when_resumed() -> None:
    model = mlp()
    start = copy.deepcopy(model)
    first, again = Recovery(distill=0.5), Recovery(distill=0.5)
    first.begin(model, 0, {}, lambda: None)
    with torch.no_grad():
        model.fc1.weight.zero_()
    again.begin(model, 4, first.state_dict(), lambda: None)
    for each in (first, again):
        assert each.teacher is not None
        assert torch.equal(each.teacher.fc1.weight, start.fc1.weight)
    assert Recovery(distill=0.5, teacher=start).state_dict() == {}


def test_outputs_that_cannot_be_compared_are_refused() -> None:
    recovery = Recovery(distill=0.5, teacher=nn.Linear(10, 4))
    student = nn.Linear(10, 3)
    recovery.begin(student, 0, {}, lambda: None)
    with pytest.raises(InvalidValueError, match=r"one shape, got \(32, 3\) and \(32, 4\)"):
        recovery.loss((X,), {}, student(X))


def test_the_average_replaces_the_weights_has_zero_and_equal_rows_and_begins_anew_when_rows_are_tied() -> None:
    used = phases(Recovery(average=0.9), leave="tied", tie=0.3)
    model, expected = mlp(), None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    used.begin(model, [optimizer], 20, 0, lambda: X)
    for i in range(20):
        step(model, optimizer, i)
        used.after_step(i + 1, model)
        used.after_step(i + 1, model)  # a batch without a step
        if used.tying is not None:
            expected = expected or WeightAverage(copy.deepcopy(model), 0.9)
            for mine, now in zip(expected._model.state_dict().values(), model.state_dict().values(), strict=True):
                mine.copy_(now)
            expected.update()
    last = copy.deepcopy(model)
    used.finish(model)
    assert expected is not None
    assert used.tying is not None
    expected.write_()
    torch.testing.assert_close(model.state_dict(), expected._model.state_dict())
    assert not torch.allclose(model.fc3.weight, last.fc3.weight, atol=1e-5)
    for layer in used.tying:
        assert layer.partition.holds(model.get_submodule(layer.name).weight.T)


def test_rows_that_were_pruned_on_the_way_are_zero_in_the_average() -> None:
    used, model = phases(Recovery(average=0.9), strength=30.0), mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    used.begin(model, [optimizer], 20, 0, lambda: X)
    assert used.growl is not None
    for i in range(20):
        step(model, optimizer, i)
        used.after_step(i + 1, model)
    rows, before = used.growl.nonzero(), copy.deepcopy(model)
    assert sum(rows.values()) < 10 + 16 + 12
    used.finish(model)
    assert not torch.equal(model.fc3.weight, before.fc3.weight)
    assert {name: int((model.get_submodule(name).weight != 0).any(0).sum()) for name in rows} == rows


def test_batch_norms_are_estimated_anew_on_the_last_weights() -> None:
    loader = DataLoader(TensorDataset(*two_of(10, 100, seed=3)), batch_size=16)
    used = phases(Recovery(recalibrate=True))
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    used.begin(model, [optimizer], 10, 0, lambda: X, lambda: map(inputs_of, training_batches(loader)))
    for i in range(10):
        step(model, optimizer, i)
    used.finish(model)
    found = [batch for batch, _ in training_batches(loader)]
    assert [len(batch) for batch in found] == [16] * 6
    mean = torch.stack([model.relu(model.fc1(x)).mean(0) for x in found]).mean(0)
    torch.testing.assert_close(model.bn.running_mean, mean)
    assert model.training


def test_training_data_that_batch_norms_cannot_be_estimated_on_are_refused_before_training() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([])

    with pytest.raises(InvalidValueError, match="examples can be read by their number"):
        next(training_batches(DataLoader(Stream())))
    with pytest.raises(InvalidTypeError, match="got str"):
        inputs_of("batch")
    used, model = phases(Recovery(recalibrate=True)), mlp()
    with pytest.raises(InvalidValueError, match="recalibrate: the network cannot be run on the inputs"):
        used.begin(model, [torch.optim.SGD(model.parameters())], 10, 0, lambda: X, lambda: iter([X[:, :3]]))
    assert model.training
    assert model.bn.num_batches_tracked == 0


def test_inputs_are_taken_from_batches_of_each_form() -> None:
    y = torch.zeros(32)
    assert inputs_of(X) is X
    assert inputs_of((X, y)) is X
    assert inputs_of([X, X, y]) == (X, X)
    assert inputs_of({"x": X, "labels": y}) == {"x": X}
    few = list(training_batches(DataLoader(TensorDataset(X, y), batch_size=100)))
    assert [len(batch[0]) for batch in few] == [32]
    many = list(training_batches(DataLoader(TensorDataset(X, y)), size=1))
    assert len(many) == 32
    assert torch.equal(
        torch.stack([x for x, _ in many]),
        torch.stack([x for x, _ in training_batches(DataLoader(TensorDataset(X, y)), 1)]),
    )
