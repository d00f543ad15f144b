"""The smallest network within an accuracy drop, found in one training: a path from light to heavy.

Rows are free until the network hardly improves any more; the best score until then is that of the unpressed network.
Then come trials. In each, rows shrink to a smaller share of the weights, the rows that are left train on, and the
validation function judges. A good trial becomes the checkpoint, and the next one goes for 0.7 of its weights; after a
bad one, the checkpoint is put back, and the next one goes for the mean, in logarithms, of good and bad. A trial that
misses narrowly trains on once before it counts as bad. Trials end at four fifths of the steps; the rest is training
of the last good network.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from torch_growl.arguments import check_count
from torch_growl.errors import GrowlWarning, InvalidValueError, users_stacklevel
from torch_growl.networks.layers import row_norms
from torch_growl.networks.optimizers import Checkpoint, paused
from torch_growl.networks.targets.control import Action, DropProgress, Phase, Stretch
from torch_growl.networks.targets.figure import Figure
from torch_growl.networks.targets.path import PathPoint
from torch_growl.networks.targets.pressing import Press, RowsOf
from torch_growl.networks.targets.target import Target

__all__ = ["DropControl"]

LEAST_STEPS = 200
_LOOKS = 20  # at the free network, in as many parts of the training; rows shrink after 2 to 10 of these parts
_RATIO = 0.7  # of the weights, from one good trial to the next
_CLOSE = 0.95  # good and bad, at which the search ends
_ALMOST_ALL = 1 - 1e-9  # of the weights: before the first trial nothing is asked for
_TRIALS_UNTIL = 0.8  # of the steps
_SHRINKS = 0.4  # of a trial's steps; for the rest its rows train on
_NARROWLY = 2.0  # times the accuracy drop, within which a trial trains on once
_SEARCHES = 4  # trials between a good and a bad one, as the steps are divided before there is a bad one
# the state beside points, stretch and checkpoint: plain values
_OF_TRIAL = ("share", "first", "end", "judged_at", "retried")
_PLAIN = ("phase", "least", "free", "reference", "score", "against", "best", "good", "bad", "ended", "why", *_OF_TRIAL)


class DropControl:
    """Decides after every optimizer step how fast rows shrink, and judges the network where they have.

    Args:
        model: the network; changed only where a checkpoint is put back.
        target: the accuracy drop and the validation function.
        example_inputs: inputs to run a copy of the network on, as for :func:`torch_growl.compact`.
        layers: the layers whose rows may go.

    Raises:
        InvalidValueError: the network cannot be run, or no row may be removed.
        CompactionError: the network cannot be copied or compacted.
    """

    def __init__(self, model: nn.Module, target: Target, example_inputs: Any, layers: Sequence[RowsOf]) -> None:
        assert target.accuracy_drop is not None
        self._model, self.target, self._layers = model, target, list(layers)
        self._drop = target.accuracy_drop
        self._press = Press(Figure(model, example_inputs, Target(weights=_ALMOST_ALL)), layers)
        self._counter, self._whole = self._press.counter, self._press.counter.dense.weights
        self._least = self._press.least / self._whole
        self.steps = 0
        self._phase: Phase = "free"
        self._free: list[tuple[int, float]] = []  # steps and scores
        self._reference = self._score = self._against = math.nan
        self._points: list[PathPoint] = []
        self._best: int | None = None
        self._good, self._bad = 1.0, 0.0  # shares of the weights; 0: none yet
        self._share, self._first, self._end, self._judged_at = 1.0, 0, 0, 0  # of the trial
        self._retried = self._ended = False
        self._stretch: Stretch | None = None
        self._checkpoint: Checkpoint | None = None
        self._why = ""
        self._decided = (0, Action())

    def start(self, steps: int, *, anew: bool = True) -> None:
        """Take the number of optimizer steps of the whole training.

        Args:
            steps: the number.
            anew: start a new training; otherwise one goes on whose state was loaded.

        Raises:
            InvalidValueError: there are too few steps, or a training has begun already.
        """
        if anew and self._free:
            raise InvalidValueError(
                "a training with this accuracy drop has begun already; make a new GrOWL for another one, or load the "
                "state_dict() of this one before attach to go on"
            )
        self.steps = check_count("steps", steps, least=LEAST_STEPS, unit="optimizer steps, with an accuracy drop")

    def after(self, step: int) -> Action:
        """Decide what is done after an optimizer step, as :meth:`Control.after`."""
        if step != self._decided[0]:
            shrinks = self._phase == "shrinking" and self._stretch is not None and not self._stretch.met
            action = self._stretch.decide(step, self._first, self._end) if shrinks and self._stretch else Action()
            self._decided = (step, action)
        return self._decided[1]

    # ── judging ─────────────────────────────────────────────────────────────────────────────────────────────────

    def finish(self, step: int, optimizers: Sequence[Optimizer], beside: Sequence[Tensor]) -> None:
        """Judge if it is time, and go on from there; called once all optimizers have made a step.

        Args:
            step: the step.
            optimizers: all that train the network.
            beside: the penalty's own tensors, which belong to a checkpoint.
        """
        if self._phase == "free" and (step == 1 or step % self._part == 0):
            self._score = self._judge(optimizers)
            if not math.isfinite(self._score):
                raise InvalidValueError(f"validate gave {self._score} for the free network, after step {step}")
            self._free.append((step, self._score))
            if self._is_ready(step):
                self._begin(step, optimizers, beside)
        elif self._phase == "shrinking" and (step >= self._end or (self._stretch is not None and self._stretch.met)):
            self._phase, self._stretch = "recovering", None
        elif self._phase == "recovering" and step >= self._judged_at:
            self._end_trial(step, optimizers, beside)
        elif self._phase == "holding" and step == self.steps:
            self._end_training(optimizers, beside)

    @property
    def _part(self) -> int:
        return self.steps // _LOOKS

    def _gain(self, score: float, over: float) -> float:
        """By how much a score is better than another."""
        return score - over if self.target.higher_is_better else over - score

    def _best_of(self, scores: Sequence[float]) -> float:
        return max(scores) if self.target.higher_is_better else min(scores)

    def _judge(self, optimizers: Sequence[Optimizer]) -> float:
        with paused(self._model, optimizers):
            return self.target.score(self._model)

    def _is_ready(self, step: int) -> bool:
        """Tell whether rows shrink from now on: the free network hardly improves any more, or half of the steps are
        over."""
        parts = step // self._part
        if parts < 2 or step == 1:
            return False
        before = [score for at, score in self._free if at <= max(1, step - 2 * self._part)]
        gain = self._gain(self._score, self._best_of(before))
        if gain < self._drop / 2:
            return True
        if parts >= _LOOKS // 2:
            if self.target.reference is None:
                warnings.warn(
                    f"the network was still improving after half of the steps, by {gain:g} in the last tenth; its "
                    f"score {self._score:g} is taken for the dense network's. Give Target(reference=…), what the dense "
                    "network reaches when it is trained as long, or start from trained weights",
                    GrowlWarning,
                    stacklevel=users_stacklevel(),
                )
            return True
        return False

    def _begin(self, step: int, optimizers: Sequence[Optimizer], beside: Sequence[Tensor]) -> None:
        own = self._best_of([score for _, score in self._free])
        given = self.target.reference
        self._reference = own if given is None else given
        # what the learning rate's end will still bring is not held against a trial
        self._against = self._reference if self._gain(own, self._reference) > 0 else own
        if self.target.higher_is_better and 0 < self._reference <= 1 and self._drop >= 0.1:
            warnings.warn(
                f"accuracy_drop={self._drop:g} has the unit of the validation function, which gave {self._score:g}; "
                "for points of per cent let it return per cent",
                GrowlWarning,
                stacklevel=users_stacklevel(),
            )
        self._checkpoint = Checkpoint.of(self._model, optimizers, beside)
        self._next_trial(step)

    def _end_trial(self, step: int, optimizers: Sequence[Optimizer], beside: Sequence[Tensor]) -> None:
        self._score = self._judge(optimizers)
        lost = self._gain(self._against, self._score)
        good = lost <= self._drop
        longer = self._judged_at - self._end
        self._points.append(self._point(step, good))
        share = self._points[-1].weights / self._whole
        if good:
            self._checkpoint = Checkpoint.of(self._model, optimizers, beside)
            self._best, self._good = len(self._points) - 1, share
        elif lost <= _NARROWLY * self._drop and not self._retried and step + longer <= self._until:
            self._retried, self._judged_at = True, step + longer
            return
        else:
            self._bad = max(self._bad, self._share)  # what was asked for: rows may leave several at a time
            self._put_back(optimizers, beside)
        self._next_trial(step)

    def _point(self, step: int, good: bool) -> PathPoint:
        self._counter.look(self._model)
        left = self._counter.left()
        rows = {layer.name: int((row_norms(layer.module) != 0).sum()) for layer in self._layers}
        return PathPoint(step, left.weights, left.macs, left.bytes, rows, self._score, good)

    def _put_back(self, optimizers: Sequence[Optimizer], beside: Sequence[Tensor]) -> None:
        assert self._checkpoint is not None
        self._checkpoint.put_back(self._model, optimizers, beside)

    def _end_training(self, optimizers: Sequence[Optimizer], beside: Sequence[Tensor]) -> None:
        """Judge the trained network; a checkpoint with a better score replaces one that is not within the drop."""
        self._score = self._judge(optimizers)
        if self._best is not None and not self._is_within(self._score):
            score = cast(float, self._points[self._best].score)
            if not self._gain(self._score, score) >= 0:
                self._put_back(optimizers, beside)
                self._score = score
        self._checkpoint = None
        self._ended = True
        if not self._is_reached():
            warnings.warn(
                f"the target is not reached: {self._found()}; {self._why}",
                GrowlWarning,
                stacklevel=users_stacklevel(),
            )

    def _is_within(self, score: float) -> bool:
        return self._gain(self._reference, score) <= self._drop

    def _is_reached(self) -> bool:
        """Tell whether a smaller network within the drop is found; after the training by its score at the end."""
        return self._best is not None and (not self._ended or self._is_within(self._score))

    def _found(self) -> str:
        """Say which networks were within the drop."""
        if self._best is None:
            tried = f"; {_described(self._points[-1], self._whole)}" if self._points else ""
            return f"no smaller network is within {self._drop:g} of {self._reference:g}{tried}"
        return f"{_described(self._points[self._best], self._whole)}, dense {self._reference:g}"

    # ── trials ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _until(self) -> int:
        """The step at which the last trial ends."""
        return round(_TRIALS_UNTIL * self.steps)

    def _next_trial(self, step: int) -> None:
        """Choose the next trial's share of the weights and its steps, or hold what is left if there is none."""
        if not self._bad and self._good <= self._least / _CLOSE:
            return self._hold("no more rows can be removed: layers keep their min_rows largest rows")
        if self._bad >= _CLOSE * self._good:
            return self._hold(f"asked for {self._bad:.1%} of the weights, the network is not within the drop")
        share = math.sqrt(self._good * self._bad) if self._bad else max(self._least, self._good * _RATIO)
        length = (self._until - step) // self._trials_left()
        if length < max(3, self.steps // 100):
            return self._hold("the steps for trials, four fifths of all, are over")
        self._phase, self._share, self._retried = "shrinking", share, False
        self._first, self._judged_at = step, step + length
        self._end = step + max(1, round(_SHRINKS * length))
        self._stretch = self._new_stretch()
        return None

    def _trials_left(self) -> int:
        """The number of trials to come, at most."""
        if not self._bad:
            return max(0, math.ceil(math.log(self._least / self._good) / math.log(_RATIO))) + _SEARCHES
        parts = math.log(self._bad / self._good) / math.log(_CLOSE)
        return max(1, math.ceil(math.log2(parts))) + 1

    def _hold(self, why: str) -> None:
        self._phase, self._stretch, self._why = "holding", None, why

    def _new_stretch(self) -> Stretch:
        self._press.figure.ask(self._share * self._whole)
        return Stretch(self._model, self._press)

    # ── its state ───────────────────────────────────────────────────────────────────────────────────────────────

    def progress(self, step: int, rows: Mapping[str, int]) -> DropProgress:
        """Describe the state.

        Args:
            step: optimizer steps so far.
            rows: for every penalised layer the rows that are not zero.
        """
        self._counter.look(self._model)
        best = None if self._best is None else self._points[self._best]
        return DropProgress(
            self._phase,
            step,
            self.steps,
            "accuracy_drop",
            self._drop,
            self._counter.left().weights,
            self._whole,
            self._is_reached(),
            rows,
            reference=self._reference,
            score=self._score,
            best=best,
            points=tuple(self._points),
            why=self._why,
        )

    def state_dict(self) -> dict[str, Any]:
        """The state for a resumed run, the checkpoint included: tensors and plain values only."""
        plain = {name: getattr(self, f"_{name}") for name in _PLAIN}
        return {
            **copy.deepcopy(plain),
            "points": [asdict(point) for point in self._points],
            "stretch": None if self._stretch is None else self._stretch.state_dict(),
            "checkpoint": None if self._checkpoint is None else self._checkpoint.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state.

        Raises:
            InvalidValueError: it is the state of a target of another kind.
        """
        if "phase" not in state:
            raise InvalidValueError("the state is that of a target of another kind, not of an accuracy drop")
        for name in _PLAIN:
            setattr(self, f"_{name}", copy.deepcopy(state[name]))
        self._points = [PathPoint(**point) for point in state["points"]]
        self._stretch = None
        if state["stretch"] is not None:
            self._stretch = self._new_stretch()
            self._stretch.load_state_dict(state["stretch"])
        self._checkpoint = None if state["checkpoint"] is None else Checkpoint.from_state(state["checkpoint"])
        self._decided = (0, Action())


def _described(point: PathPoint, whole: int) -> str:
    return f"{point.weights:,} of {whole:,} weights ({point.weights / whole:.1%}) have score {point.score:g}"
