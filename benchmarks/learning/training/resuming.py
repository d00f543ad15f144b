"""Trains a network in epochs that are kept, so that an interrupted training resumes from its last kept epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

import torch_growl as tg
from benchmarks.learning.training.fitting import Fit, fit, keep_state, state_of

__all__ = ["fit_resumed"]


def fit_resumed(
    path: Path,
    model: nn.Module,
    train: Any,
    how: Fit,
    seed: int,
    *,
    wrap: Callable[[nn.Module], nn.Module] = lambda network: network,
    growl: tg.GrOWL | None = None,
    to_target: bool = False,
    every: int = 1,
    keeps: Callable[[int], bool] = lambda epoch: True,
    steps_kept: int | None = None,
    after_kept: Callable[[int, float], None] | None = None,
    on_optimizer: Callable[[Optimizer], object] | None = None,
    last: int | None = None,
    **others: Any,
) -> nn.Module:
    """Train a network in place, from its checkpoint if there is one; return it in eval mode.

    Args:
        path: the checkpoint: the network, its optimizer, the number of epochs, the penalty.
        model: the network at the start.
        train, how, seed: as for :func:`fit`.
        wrap: called with the network; its result is trained (in bfloat16, compiled).
        growl: the penalty, attached to the optimizer.
        to_target: the penalty has a target, which is to be met in all steps of ``how``.
        every: steps from one application of the penalty to the next.
        keeps: called with the number of finished epochs; True writes the checkpoint.
        steps_kept: the checkpoint is also written each time so many steps are done.
        after_kept: called after the checkpoint is written, with the number of epochs and the mean loss.
        on_optimizer: called with the optimizer before the first step.
        last: the number of epochs after which the training stops, on the schedule of all; None trains them all.
        others: further arguments of :func:`fit`.
    """
    state = state_of(path)
    steps = len(train) // how.batch_size
    held: list[Optimizer] = []

    def attach(optimizer: Optimizer) -> None:
        held.append(optimizer)
        if on_optimizer is not None:
            on_optimizer(optimizer)
        if growl is not None:
            growl.attach(optimizer, every=every, steps=steps * how.epochs if to_target else None)

    def keep(epoch: int, step: int) -> None:
        kept: dict[str, Any] = {"model": model.state_dict(), "optimizer": held[0].state_dict()}
        kept |= {"epoch": epoch, "step": step}
        keep_state(path, kept | ({"growl": growl.state_dict()} if growl is not None else {}))

    def after_step(step: int) -> bool | None:
        ended = last is not None and step >= last * steps
        if ended or (steps_kept is not None and not step % steps_kept):
            keep(*divmod(step, steps))
        return ended

    def after_epoch(epoch: int, loss: float) -> None:
        if not keeps(epoch):
            return
        keep(epoch, 0)
        print(f"{path.stem}: {epoch} of {how.epochs} epochs, loss {loss:.4f}", flush=True)
        if after_kept is not None:
            after_kept(epoch, loss)

    if state is not None:
        model.load_state_dict(state["model"])
        if growl is not None:
            growl.load_state_dict(state["growl"])
    if state is None or state["epoch"] < (how.epochs if last is None else last):
        first, optimizer = (state["epoch"], state["optimizer"]) if state else (0, None)
        if steps_kept is not None or last is not None:
            others["after_step"] = after_step
        fit(
            wrap(model),
            train,
            how,
            seed,
            attach=attach,
            after_epoch=after_epoch,
            first=first,
            skip=state.get("step", 0) if state else 0,
            state=optimizer,
            **others,
        )
    return model.eval()
