"""Gradients through the OWL norm, its dual, its prox and the row-wise prox."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.support.reference_prox import SEQUENCES
from torch_growl.mathematics.owl.operators import owl_dual_norm, owl_norm, prox_growl, prox_owl
from torch_growl.mathematics.owl.sequences import pld


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("shape", SEQUENCES)
@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_gradcheck_in_v_and_lambda(n: int, shape: str) -> None:
    v = (3 * torch.randn(n, dtype=torch.float64)).requires_grad_()
    lam = SEQUENCES[shape](n)
    torch.autograd.gradcheck(lambda v: prox_owl(v, lam), v)
    if shape != "constant":  # a constant λ cannot be moved one by one and still be a λ
        lam = (lam - 1e-3 * torch.arange(n)).clamp_min(0.01 / torch.arange(1, n + 1)).detach()
        torch.autograd.gradcheck(prox_owl, (v, lam.requires_grad_()))
        torch.autograd.gradcheck(owl_norm, (v, lam))
        torch.autograd.gradcheck(owl_dual_norm, (v, lam))


def test_the_gradient_written_out() -> None:
    # sorted: 9 alone; 5 and −4.5 pooled; 0.1 clipped
    v, lam = t(5, 0.1, 9, -4.5).requires_grad_(), t(3, 2, 1, 1).requires_grad_()
    x = prox_owl(v, lam)
    torch.testing.assert_close(x.detach(), t(3.25, 0, 6, -3.25), rtol=1e-15, atol=0)
    g_v, g_lam = torch.autograd.grad(x, (v, lam), t(1, 10, 100, 1000))
    assert g_v.tolist() == [(1 - 1000) / 2, 0, 100, -(1 - 1000) / 2]
    assert g_lam.tolist() == [-100, 999 / 2, 999 / 2, 0]


def test_equal_values_under_a_constant_lambda_move_independently() -> None:
    v = t(2, -2, 2, 0).requires_grad_()
    prox_owl(v, t(1, 1, 1, 1)).backward(t(1, 2, 3, 4))
    assert v.grad.tolist() == [1, 2, 3, 0]


def test_a_second_derivative_is_refused() -> None:
    v = torch.randn(5, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(prox_owl(v, pld()(5) * 0.1).square().sum(), v, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()


def test_no_graph_without_need() -> None:
    v = torch.randn(5, requires_grad=True)
    assert prox_owl(v, pld()(5)).requires_grad
    assert prox_owl(v, pld()(5)).dtype == torch.float32
    with torch.no_grad():
        assert not prox_owl(v, pld()(5)).requires_grad
    assert not prox_owl(v.detach(), pld()(5)).requires_grad


def test_many_at_once_are_differentiable() -> None:
    vs = [torch.randn(n, dtype=torch.float64, requires_grad=True) for n in (4, 1, 6)]
    lams = [pld()(n) for n in (4, 1, 6)]
    torch.stack([x.square().sum() for x in prox_owl(vs, lams)]).sum().backward()
    for v, lam in zip(vs, lams, strict=True):
        twin = v.detach().clone().requires_grad_()
        prox_owl(twin, lam).square().sum().backward()
        assert torch.equal(v.grad, twin.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_gradients_through_rows(dtype: torch.dtype) -> None:
    W = torch.randn(9, 4).to(dtype)
    W[3] = 0
    W.requires_grad_()
    prox_growl(W, 0.5 * pld()(9)).square().sum().backward()
    assert bool(torch.isfinite(W.grad).all())
    assert not W.grad[3].any()
    assert W.grad[[0, 1, 2]].abs().sum() > 0


def test_gradcheck_through_rows() -> None:
    W = torch.randn(7, 2, 2, dtype=torch.float64, requires_grad=True)
    lam = (pld(p=1.0)(7)).requires_grad_()
    torch.autograd.gradcheck(prox_growl, (W, lam))
    big = (W.detach() * 1e150).requires_grad_()
    (g,) = torch.autograd.grad(prox_growl(big, lam.detach() * 1e150).sum(), big)
    (h,) = torch.autograd.grad(prox_growl(W, lam.detach()).sum(), W)
    torch.testing.assert_close(g, h, rtol=1e-10, atol=1e-12)
