"""The GrOWL penalty on networks: which layers, the step it takes, what it must never do."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from typing import Any

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.batteries import LAYERS, Case
from torch_growl.errors import GrowlWarning, InvalidTypeError, InvalidValueError, LayerError
from torch_growl.networks.layers import row_norms, rows_of


def mlp(batch_norm: bool = True) -> nn.Sequential:
    torch.manual_seed(1)
    model = nn.Sequential()
    model.add_module("fc1", nn.Linear(10, 16))
    model.add_module("relu", nn.ReLU())
    model.add_module("bn", nn.BatchNorm1d(16) if batch_norm else nn.Identity())
    model.add_module("fc2", nn.Linear(16, 12))
    model.add_module("fc3", nn.Linear(12, 3))
    return model


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(32, 10, generator=generator), torch.randint(3, (32,), generator=generator)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()


# ── which layers ────────────────────────────────────────────────────────────────────────────────────────────────


def test_default_layers_and_what_is_left_out_with_reasons() -> None:
    growl = tg.GrOWL(mlp())
    assert growl.layers == ("fc1", "fc2")
    assert growl.left_out == {"bn": "type has no registered rows view", "fc3": "the network's last layer"}
    assert "fc1 (Linear): 10 rows of 16" in repr(growl)
    assert "fc3: left out, the network's last layer" in repr(growl)


def test_overrides_go_from_type_over_pattern_to_name() -> None:
    overrides: dict[Any, Any] = {
        "fc1": {"strength": 3.0},
        nn.Linear: {"strength": 1.0, "sequence": tg.lasso()},
        "fc*": {"strength": 2.0},
    }
    growl = tg.GrOWL(mlp(), 0.5, layers=["*"], overrides=overrides, form="paper")
    norms = {name: row_norms(growl._model.get_submodule(name)).double().sum() for name in growl.layers}
    expected = 3 * norms["fc1"] + 2 * norms["fc2"] + 2 * norms["fc3"]
    torch.testing.assert_close(growl.penalty().double(), expected, rtol=1e-5, atol=0)


def test_an_override_can_skip_a_layer() -> None:
    growl = tg.GrOWL(mlp(), overrides={"fc1": {"skip": True}})
    assert growl.layers == ("fc2",)
    assert growl.left_out["fc1"] == "skipped by an override"
    with pytest.raises(LayerError, match="every chosen layer is skipped"):
        tg.GrOWL(mlp(), overrides={"Linear": {"skip": True}})


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"strength": -1}, InvalidValueError, "strength must be finite and ≥ 0, got -1"),
        ({"strength": float("nan")}, InvalidValueError, "strength must be finite"),
        ({"strength": "1"}, InvalidTypeError, "strength must be a number, got str"),
        ({"form": "scalefree"}, InvalidValueError, "form must be 'scale-free' or 'paper'"),
        ({"min_rows": 0}, InvalidValueError, "min_rows must be an integer ≥ 1"),
        ({"sequence": "pld"}, InvalidTypeError, "sequence must be made by pld"),
        ({"layers": ["fc9"]}, LayerError, "unknown layer 'fc9'; did you mean"),
        ({"overrides": {"fc9": {}}}, LayerError, "unknown layer 'fc9'"),
        ({"overrides": {nn.Conv2d: {}}}, LayerError, "no eligible layer of that type"),
        ({"overrides": {"fc3": {"strength": 1}}}, LayerError, "override for layer 'fc3', which is not penalised"),
        ({"overrides": {"fc1": {"strenght": 1}}}, InvalidValueError, "unknown field 'strenght'"),
        ({"overrides": {"fc1": {"strength": -1}}}, InvalidValueError, "override strength must be finite and ≥ 0"),
        ({"overrides": {"fc1": {"sequence": 1}}}, InvalidTypeError, "override sequence must be made by"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        tg.GrOWL(mlp(), **arguments)


def test_a_model_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidTypeError, match=r"model must be a torch.nn.Module, got list"):
        tg.GrOWL([])  # type: ignore[arg-type]


# ── the step ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_the_paper_step_is_the_prox_on_every_layer_type(case: Case, side: str) -> None:
    layer = case.make()
    growl = tg.GrOWL(nn.Sequential(layer), 1.0, tg.oscar(), layers=["0"], form="paper", side=side, min_rows=1)
    W = rows_of(layer, side).detach().clone()
    growl.prox_(0.05)
    expected = tg.prox_growl(W, 0.05 * tg.oscar()(len(W)))
    torch.testing.assert_close(rows_of(layer, side).detach(), expected)


def test_the_scale_free_step_keeps_each_layers_norm_and_the_rows_order() -> None:
    model = mlp()
    growl = tg.GrOWL(model, 1.0, tg.pld(p=0.5, floor=0.3))
    before = {name: row_norms(model.get_submodule(name)) for name in growl.layers}
    growl.prox_(0.5)
    for name, norms in before.items():
        after = row_norms(model.get_submodule(name))
        torch.testing.assert_close(after.norm(), norms.norm())
        assert bool(((after == 0) | (after > 0)).all())
        order = norms.argsort()
        assert bool((after[order].diff() >= -1e-6).all())
        assert not torch.allclose(after, norms)


def test_the_scale_free_step_is_its_formula() -> None:
    model = mlp()
    W = rows_of(model.fc2).detach().clone()  # (16, 12)
    tg.GrOWL(model, 3.0, tg.oscar(0.2), layers=["fc2"]).prox_(0.05)
    threshold = 0.05 * 3.0 * tg.oscar(0.2)(16) / (4 * float(W.norm()))
    expected = tg.prox_growl(W, threshold)
    torch.testing.assert_close(rows_of(model.fc2).detach(), expected * (W.norm() / expected.norm()))


def test_scale_free_means_that_scale_and_width_do_not_matter() -> None:
    """Scaling W by c and lr by c² (as a scale-invariant loss does) gives the same rows, scaled by c."""
    a, b = mlp(), mlp()
    b.fc1.weight.data.mul_(7)
    for model, lr in ((a, 0.5), (b, 0.5 * 49)):
        tg.GrOWL(model, 1.0, layers=["fc1"]).prox_(lr)
    torch.testing.assert_close(b.fc1.weight, 7 * a.fc1.weight)
    assert not torch.equal(a.fc1.weight, mlp().fc1.weight)
    # and the penalty of equal rows under a constant sequence is the strength itself, whatever the width
    for width in (4, 64):
        layer = nn.Linear(width, 5)
        layer.weight.data.fill_(0.3)
        value = tg.GrOWL(nn.Sequential(layer), 2.5, tg.lasso(), layers=["0"]).penalty()
        torch.testing.assert_close(value, torch.tensor(2.5))


def test_the_penalty_is_differentiable_and_its_gradient_is_that_of_the_formula() -> None:
    model = mlp()
    growl = tg.GrOWL(model, 2.0, tg.lasso(), layers=["fc1"], form="paper")
    growl.penalty().backward()
    W = model.fc1.weight.detach()
    torch.testing.assert_close(model.fc1.weight.grad, 2 * W / W.norm(dim=0, keepdim=True))


def test_one_strength_of_zero_changes_nothing() -> None:
    model = mlp()
    before = copy.deepcopy(model.state_dict())
    tg.GrOWL(model, 0.0).prox_(1.0)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=1e-6, atol=0)


# ── attached ────────────────────────────────────────────────────────────────────────────────────────────────────

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    "lion-like tensor lr": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_with_any_optimizer_rows_die_and_stay_dead(name: str) -> None:
    model = mlp()
    optimizer = OPTIMIZERS[name](model.parameters())
    growl = tg.GrOWL(model, 20.0, tg.lasso(), layers=["fc1"], form="paper", min_rows=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GrowlWarning)
        handle = growl.attach(optimizer)
        for i in range(60):
            step(model, optimizer, i)
        dead = row_norms(model.fc1) == 0
        assert 0 < int(dead.sum()) <= 8
        growl.strength = 0.0
        for i in range(10):
            step(model, optimizer, i)
            assert bool((row_norms(model.fc1)[dead] == 0).all())
    handle.remove()
    step(model, optimizer)
    assert not bool((row_norms(model.fc1)[dead] == 0).all()), "without the hook momentum does revive them"


def test_the_threshold_is_that_steps_learning_rate() -> None:
    model, twin = mlp(), mlp()
    groups = [
        {"params": [model.fc1.weight], "lr": 0.2},
        {"params": [p for n, p in model.named_parameters() if n != "fc1.weight"]},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.0)
    tg.GrOWL(model, 0.1, tg.lasso(), form="paper").attach(optimizer)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    twin_optimizer = torch.optim.SGD([twin.fc1.weight], lr=0.2)
    for i, lr in enumerate((0.2, 0.1, 0.05)):
        step(model, optimizer, i)
        scheduler.step()
        twin_optimizer.param_groups[0]["lr"] = lr
        step(twin, twin_optimizer, i)
        twin.fc1.weight.data = tg.prox_growl(
            twin.fc1.weight.data.t(), torch.full((10,), 0.1 * lr, dtype=torch.float64)
        ).t()
        torch.testing.assert_close(model.fc1.weight, twin.fc1.weight)
    assert torch.equal(model.fc2.weight, twin.fc2.weight), "a learning rate of 0 has a threshold of 0"


def test_every_n_and_every_epoch() -> None:
    for arguments in ({"every": 3}, {"every": "epoch", "steps_per_epoch": 3}):
        model = mlp()
        growl = tg.GrOWL(model, 0.1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        growl.attach(optimizer, **arguments)
        for i in range(7):
            step(model, optimizer, i)
            assert growl.steps == (i + 1) // 3


def test_balance_is_a_power_of_a_layers_share_of_the_weights() -> None:
    """Seen through the penalty's value: with equal rows and λ = 1, Ω / (√n ‖W‖) is 1, so what is left is b_l."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 12), torch.nn.Linear(12, 2))
    for layer in model:
        torch.nn.init.ones_(layer.weight)
    shares = [16 / 64, 48 / 64]
    for balance, power in (("none", 0.0), (0, 0.0), ("weights", 0.5), (0.5, 0.5), (1.0, 1.0), (2, 2.0), (None, 0.5)):
        growl = tg.GrOWL(model, 3.0, tg.lasso(), layers=["0", "1"], balance=balance)
        assert float(growl.penalty().detach()) == pytest.approx(3 * sum(share**power for share in shares))
    for wrong in (-0.1, 2.1, math.nan, True, "macs"):
        with pytest.raises(tg.GrowlError, match="balance must be"):
            tg.GrOWL(model, balance=wrong)


def test_without_a_loss_the_contrast_of_rows_grows_at_the_pace_the_docs_give() -> None:
    """(ρ − 1) grows by e^R, R = steps · lr · strength / ‖W‖², ρ a row's norm over the mean: docs/method.md."""
    layer = torch.nn.Linear(40, 9).double()
    directions = torch.nn.functional.normalize(layer.weight.detach().T, dim=1)  # (40, 9)
    lengths = 3 * (1 + 1e-4 * torch.linspace(-1, 1, 40, dtype=torch.float64))
    layer.weight.data.copy_((directions * lengths[:, None]).T)
    growl = tg.GrOWL(layer, 2.0, tg.lasso(), layers=[""], balance="none")
    for _ in range(300):
        growl.prox_(0.5)
    norms = layer.weight.detach().norm(dim=0)
    pace = 300 * 0.5 * 2.0 / float(layer.weight.detach().norm() ** 2)
    growth = (norms[-1] / norms.mean() - 1) / 1e-4
    assert float(growth) == pytest.approx(math.exp(pace), rel=0.01)


def trained(steps: int = 7, stop: int | None = None, load_first: bool = False, **attach: int) -> torch.Tensor:
    """A weight after some steps; the penalty may be stopped after one and go on from its state."""
    model = mlp()
    growl = tg.GrOWL(model, 0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = growl.attach(optimizer, **attach)
    for i in range(steps):
        step(model, optimizer, i)
        if i == stop:
            state = growl.state_dict()
            handle.remove()
            growl = tg.GrOWL(model, 0.1)
            if load_first:
                growl.load_state_dict(state)
            growl.attach(optimizer, **attach)
            if not load_first:
                growl.load_state_dict(state)
    return model.fc1.weight.detach().clone()


@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_strength_rises_evenly_over_the_warmup(every: int) -> None:
    model = mlp()
    growl = tg.GrOWL(model, 0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    growl.attach(optimizer, every=every)
    shares = [min(1.0, i / 4) for i in range(1, 8)]
    for i in range(7):
        growl.strength = 0.1 * sum(shares[max(0, i + 1 - every) : i + 1]) / every
        step(model, optimizer, i)
    torch.testing.assert_close(trained(every=every, warmup=4), model.fc1.weight.detach())
    assert not torch.equal(trained(every=every, warmup=4), trained(every=every))


@pytest.mark.parametrize("load_first", [True, False], ids=["load then attach", "attach then load"])
@pytest.mark.parametrize("attach", [{"warmup": 4}, {"every": 3}, {"every": 2, "warmup": 5}], ids=str)
def test_a_loaded_penalty_goes_on_in_its_warmup_and_period(attach: dict[str, int], load_first: bool) -> None:
    assert torch.equal(trained(stop=1, load_first=load_first, **attach), trained(**attach))


def test_attached_to_the_next_phase_it_begins_anew() -> None:
    model = mlp()
    growl = tg.GrOWL(model, 0.1)
    first, second = (torch.optim.SGD(model.parameters(), lr=0.1) for _ in range(2))
    handle = growl.attach(first, every=3)
    step(model, first)
    growl.load_state_dict(growl.state_dict())
    handle.remove()
    growl.attach(second, every=3)
    for i in range(3):
        assert growl.steps == 0
        step(model, second, i)
    assert growl.steps == 1


def test_between_two_proximal_steps_dead_rows_stay_dead() -> None:
    model = mlp()
    model.fc1.weight.data[:, 3] = 0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    tg.GrOWL(model, 1e-6).attach(optimizer, every=1000)
    for i in range(5):
        step(model, optimizer, i)
        assert bool((model.fc1.weight[:, 3] == 0).all())
        assert bool((model.fc1.weight[:, 4] != 0).any())


def test_a_layer_that_starts_at_zero_is_an_initialisation_not_a_pruning() -> None:
    model = mlp()
    nn.init.zeros_(model.fc2.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tg.GrOWL(model, 1e-3).attach(optimizer)
    nn.init.normal_(model.fc3.weight)
    step(model, optimizer)
    assert bool((row_norms(model.fc2) > 0).any())


def test_a_skipped_step_of_a_gradient_scaler_takes_no_proximal_step() -> None:
    model = mlp()
    growl = tg.GrOWL(model, 0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    growl.attach(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    for grad, expected in ((float("inf"), 0), (1.0, 1)):
        optimizer.zero_grad()
        loss = model(torch.randn(8, 10)).sum()
        scaler.scale(loss).backward()
        if grad == float("inf"):
            model.fc1.weight.grad.fill_(grad)
        scaler.step(optimizer)
        scaler.update()
        assert growl.steps == expected


def test_autocast_and_compiled_networks() -> None:
    model = mlp()
    compiled = torch.compile(model, backend="eager")
    growl = tg.GrOWL(compiled, 0.5)
    assert growl.layers == ("fc1", "fc2")
    optimizer = torch.optim.SGD(compiled.parameters(), lr=0.1)
    growl.attach(optimizer)
    before = model.fc1.weight.detach().clone()
    with torch.autocast("cpu", torch.bfloat16):
        loss = compiled(torch.randn(32, 10)).float().pow(2).mean()
    loss.backward()
    optimizer.step()
    assert growl.steps == 1
    assert not torch.equal(before, model.fc1.weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_of_weights(dtype: torch.dtype) -> None:
    model = mlp().to(dtype)
    growl = tg.GrOWL(model, 1.0, tg.lasso(), form="paper")
    W = rows_of(model.fc1).detach().clone()
    growl.prox_(0.1)
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 1e-2, torch.float64: 1e-6}[dtype]  # a rounding of the scale
    expected = tg.prox_growl(W, torch.full((10,), 0.1, dtype=torch.float64))
    torch.testing.assert_close(rows_of(model.fc1).detach(), expected, rtol=tolerance, atol=tolerance)
    assert model.fc1.weight.dtype == dtype


def test_a_penalty_can_be_pickled_with_its_network() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.Conv2d(3, 4, 3), nn.Linear(12, 2))
    growl = tg.GrOWL(model, strength=5.0, layers=["0", "1"])
    growl.prox_(0.1)
    other = pickle.loads(pickle.dumps(growl))
    for each in (growl, other):
        each.prox_(0.1)
    assert other.steps == 2
    assert torch.equal(other._layers["1"].weight, model[1].weight)


def test_a_layer_frozen_later_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 2))
    growl = tg.GrOWL(model, strength=5.0)
    model[0].requires_grad_(False)
    frozen, other = model[0].weight.clone(), model[2].weight.clone()
    growl.prox_(0.1)
    assert torch.equal(model[0].weight, frozen)
    assert not torch.equal(model[2].weight, other)
    model[0].requires_grad_(True)
    growl.prox_(0.1)
    assert not torch.equal(model[0].weight, frozen)


def test_attaching_twice_or_to_the_wrong_optimizer_is_refused() -> None:
    model = mlp()
    growl = tg.GrOWL(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = growl.attach(optimizer)
    with pytest.raises(InvalidValueError, match="attached to this optimizer already"):
        growl.attach(optimizer)
    handle.remove()
    growl.attach(optimizer)
    with pytest.raises(LayerError, match="the optimizer does not train the weight of 'fc2'"):
        growl.attach(torch.optim.SGD(model.fc1.parameters(), lr=0.1))
    for every in (0, "step", True, 1.5):
        with pytest.raises(InvalidValueError, match="every must be an integer ≥ 1 or 'epoch'"):
            growl.attach(torch.optim.SGD(model.parameters(), lr=0.1), every=every)
    for warmup in (-1, True, 1.5):
        with pytest.raises(tg.GrowlError, match="warmup must be an integer ≥ 0 optimizer steps"):
            growl.attach(torch.optim.SGD(model.parameters(), lr=0.1), warmup=warmup)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="warmup cannot be combined with capturable"):
        tg.GrOWL(mlp(), capturable=True).attach(torch.optim.SGD(model.parameters(), lr=0.1), warmup=3)
    with pytest.raises(InvalidValueError, match="every='epoch' needs steps_per_epoch"):
        growl.attach(torch.optim.SGD(model.parameters(), lr=0.1), every="epoch")
    with pytest.raises(InvalidTypeError, match="optimizer must be a torch.optim.Optimizer, got list"):
        growl.attach([])  # type: ignore[arg-type]


# ── what it must never do ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["scale-free", "paper"])
def test_a_layer_is_never_emptied_and_says_so_once(form: str) -> None:
    model = mlp()
    growl = tg.GrOWL(model, 1e6, form=form, min_rows=3)
    largest = {n: set(row_norms(model.get_submodule(n)).argsort(descending=True)[:3].tolist()) for n in growl.layers}
    with pytest.warns(GrowlWarning, match="would have been emptied") as caught:
        for _ in range(3):
            growl.prox_(1.0)
    assert sorted(str(w.message).split("'")[1] for w in caught) == ["fc1", "fc2"]
    assert growl.floored == {"fc1", "fc2"}
    assert growl.nonzero() == {"fc1": 3, "fc2": 3}
    for name in growl.layers:
        assert set(row_norms(model.get_submodule(name)).nonzero().flatten().tolist()) == largest[name]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinite_weights_are_refused_by_name_and_nothing_changes(value: float) -> None:
    model = mlp()
    growl = tg.GrOWL(model)
    model.fc2.weight.data[1, 2] = value
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(LayerError, match="layer 'fc2' has NaN or infinite weights in 1 of its 16 rows"):
        growl.prox_(0.1)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor.nan_to_num(7), before[key].nan_to_num(7))


def test_state_goes_out_and_in() -> None:
    def train(model: nn.Module, growl: tg.GrOWL, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for i in steps:
            step(model, optimizer, i)

    def build() -> tuple[nn.Module, tg.GrOWL, torch.optim.Optimizer]:
        model = mlp()
        growl = tg.GrOWL(model, 0.5, tg.lasso())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        growl.attach(optimizer, every=2)
        return model, growl, optimizer

    whole = build()
    train(*whole, range(31))
    first = build()
    train(*first, range(17))
    second = build()
    for a, b in zip(second, first, strict=True):
        a.load_state_dict(copy.deepcopy(b.state_dict()))
    train(*second, range(17, 31))
    for a, b in zip(whole[0].parameters(), second[0].parameters(), strict=True):
        assert torch.equal(a, b)
    assert whole[1].steps == second[1].steps == 15


def test_a_state_of_another_network_is_refused() -> None:
    state = tg.GrOWL(mlp(), layers=["fc1"]).state_dict()
    with pytest.raises(LayerError, match=r"the state is of layers \['fc1'\], not of \['fc1', 'fc2'\]"):
        tg.GrOWL(mlp()).load_state_dict(state)
    state["dead"]["fc1"] = torch.zeros(3, dtype=torch.bool)
    with pytest.raises(LayerError, match="layer 'fc1': the state has 3 rows, not 10"):
        tg.GrOWL(mlp(), layers=["fc1"]).load_state_dict(state)


def test_by_default_the_inputs_that_matter_stay_and_the_others_die() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    growl = tg.GrOWL(model, layers=["fc1"], min_rows=1)
    growl.attach(optimizer)
    for i in range(200):
        x = torch.randn(64, 10, generator=torch.Generator().manual_seed(i))
        y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert (row_norms(model.fc1) > 0).tolist() == [True, True] + [False] * 8


def test_the_default_form_cannot_empty_a_layer_where_the_papers_form_does() -> None:
    """The reason for the default: a layer that BatchNorm follows has no gradient that would hold its scale up."""
    model = mlp()
    norm = row_norms(model.fc1).norm()
    default = tg.GrOWL(model, layers=["fc1"], min_rows=1)
    for _ in range(300):
        default.prox_(0.05)
    torch.testing.assert_close(row_norms(model.fc1).norm(), norm)
    assert not default.floored
    paper = tg.GrOWL(model, 0.1, layers=["fc1"], min_rows=1, form="paper")
    with pytest.warns(GrowlWarning, match="'fc1' would have been emptied"):
        for _ in range(300):
            paper.prox_(0.05)
    assert paper.nonzero() == {"fc1": 1}
