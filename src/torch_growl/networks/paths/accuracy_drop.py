"""The smallest network within an accuracy drop, found in one training: a path from light to heavy.

Rows are free until the network hardly improves any more, and a little longer while the learning rate falls to zero; the
best score until then is that of the dense network. Then come trials (:mod:`.trials`). In each, rows shrink to a smaller
share of the weights, those that are left train on while the learning rate falls to zero, and the validation function
judges. A good trial becomes the checkpoint; after a bad one the checkpoint is put back. A trial that misses narrowly
trains on once before it counts as bad. Trials end at 0.85 of the steps; for the rest the last good network trains on.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from torch_growl.arguments import check_count
from torch_growl.errors import GrowlWarning, InvalidValueError, users_stacklevel
from torch_growl.networks.optimizers import Checkpoint, paused
from torch_growl.networks.paths.path import DropProgress, PathPoint, PruningPath, point_of, sensitivities
from torch_growl.networks.paths.trials import Trials
from torch_growl.networks.targets import Action, Figure, Phase, Press, Rows, Stretch, Target

__all__ = ["DropControl"]

LEAST_STEPS = 200
_LOOKS = 20  # at the free network, in as many parts of the training; rows shrink after 2 to 10 of these parts
_ALMOST_ALL = 1 - 1e-9  # of the weights: before the first trial nothing is asked for
_TRIALS_UNTIL = 0.85  # of the steps: the last trial ends
_SHRINKS = 0.4  # of a trial's steps; for the rest its rows train on
# the state beside points, trials, stretch and checkpoint: plain values
_PLAIN = (
    *("phase", "free", "reference", "score", "against", "best", "first", "end"),
    *("recovers_from", "judged_at", "ended", "why", "sensitivity"),
)


class DropControl:
    """Decides after every optimizer step how fast rows shrink, and judges the network where they have.

    Args:
        model: the network; changed only where a checkpoint is put back.
        target: the accuracy drop and the validation function.
        example_inputs: inputs to run a copy of the network on, as for :func:`torch_growl.compact`.
        layers: the layers whose rows may go.
        path: that of an earlier training of this network.
        side: what a row is.

    Raises:
        InvalidValueError: the network cannot be run, no row may be removed, or the path is another network's.
        CompactionError: the network cannot be copied or compacted.
    """

    def __init__(
        self,
        model: nn.Module,
        target: Target,
        example_inputs: Any,
        layers: Sequence[Rows],
        path: PruningPath | None = None,
        side: str = "input",
    ) -> None:
        assert target.accuracy_drop is not None
        self._model, self.target, self._layers = model, target, list(layers)
        self._drop, self._side = target.accuracy_drop, side
        self._press = Press(Figure(model, example_inputs, Target(weights=_ALMOST_ALL)), layers)
        self._counter, self._whole = self._press.counter, self._press.counter.dense.weights
        least = self._press.least / self._whole
        self._rows = {layer.name: len(layer.lam) for layer in self._layers}
        if path is not None:
            path.check_fits(self._rows, side)
        begin_at = None if path is None else path.share(self._drop)
        self._trials = Trials(self._drop, target.standard_error or 0.0, least, begin_at)
        self._sensitivity: dict[str, float] = {}
        self.steps = 0
        self._phase: Phase = "free"
        self._free: list[tuple[int, float]] = []  # steps and scores
        self._reference = self._score = self._against = math.nan
        self._points: list[PathPoint] = []
        self._best: int | None = None
        self._first, self._end = 0, 0  # of the trial
        self._recovers_from = self._judged_at = 0
        self._ended = False
        self._stretch: Stretch | None = None
        self._checkpoint: Checkpoint | None = None
        self._why = ""
        self._decided = (0, Action())

    def start(self, steps: int, *, anew: bool = True) -> None:
        """Take the number of optimizer steps of the whole training, as :meth:`Control.start`.

        Raises:
            InvalidValueError: there are too few steps, or a training has begun already.
        """
        self.check_start(steps, anew=anew)
        self.steps = steps

    def check_start(self, steps: int, *, anew: bool = True) -> None:
        """Refuse what :meth:`start` refuses; nothing is changed."""
        if anew and self._free:
            raise InvalidValueError(
                "a training with this accuracy drop has begun already; make a new GrOWL for another one, or load the "
                "state_dict() of this one before attach to go on"
            )
        check_count("steps", steps, least=LEAST_STEPS, unit="optimizer steps, with an accuracy drop")

    def after(self, step: int, choose: object = None) -> Action:
        """Decide what is done after an optimizer step, as :meth:`Control.after`; rows never go in one step."""
        if step != self._decided[0]:
            shrinks = self._phase == "shrinking" and self._stretch is not None and not self._stretch.met
            action = self._stretch.decide(step, self._first, self._end) if shrinks and self._stretch else Action()
            self._decided = (step, action)
        return self._decided[1]

    # ── judging ─────────────────────────────────────────────────────────────────────────────────────────────────

    def finish(self, step: int, optimizers: Sequence[Optimizer], beside: Sequence[Tensor]) -> None:
        """Judge if it is time, and go on from there; called once all optimizers have made a step.

        Args:
            step, optimizers: the step, and all optimizers that train the network.
            beside: the penalty's own tensors, which belong to a checkpoint.
        """
        if self._phase == "free" and (step == 1 or step % self._part == 0):
            self._score = self._judge(optimizers)
            if not math.isfinite(self._score):
                raise InvalidValueError(f"validate gave {self._score} for the free network, after step {step}")
            self._free.append((step, self._score))
            if self._is_ready(step):
                self._recover(step, step + max(3, (self._until - step) // self._trials.number_left))
        elif self._phase == "shrinking" and (step >= self._end or (self._stretch is not None and self._stretch.met)):
            self._recover(step, self._judged_at)
        elif self._phase == "recovering" and step >= self._judged_at:
            if math.isnan(self._reference):
                self._begin(step, optimizers, beside)
            else:
                self._end_trial(step, optimizers, beside)
        elif self._phase == "holding" and step == self.steps:
            self._end_training(optimizers, beside)

    @property
    def _part(self) -> int:
        return self.steps // _LOOKS

    def _judge(self, optimizers: Sequence[Optimizer]) -> float:
        with paused(self._model, optimizers):
            return self.target.score(self._model)

    def _is_ready(self, step: int) -> bool:
        """Tell whether the free network hardly improves any more, or half of the steps are over."""
        if step < 2 * self._part:
            return False
        before = [score for at, score in self._free if at <= max(1, step - 2 * self._part)]
        gain = self.target.gain(self._score, self.target.best(before))
        late = step >= _LOOKS // 2 * self._part
        if gain >= self._drop / 2 and late and self.target.reference is None:
            _warn(
                f"the network was still improving after half of the steps, by {gain:g} in the last tenth; its score "
                f"{self._score:g} is taken for the dense network's. Give Target(reference=…), what the dense network "
                "reaches when it is trained as long, or start from trained weights"
            )
        return late or gain < self._drop / 2

    def _begin(self, step: int, optimizers: Sequence[Optimizer], beside: Sequence[Tensor]) -> None:
        self._score = self._judge(optimizers)
        self._free.append((step, self._score))
        own = self.target.equal_to_best([score for _, score in self._free])
        given = self.target.reference
        self._reference = own if given is None else given
        # what the learning rate's end will still bring is not held against a trial
        self._against = self._reference if self.target.gain(own, self._reference) > 0 else own
        if unit := self.target.doubtful_unit(self._reference):
            _warn(unit)
        self._checkpoint = Checkpoint.of(self._model, optimizers, beside)
        with paused(self._model, optimizers):
            lost = lambda network: self.target.gain(self._score, self.target.score(network))  # noqa: E731
            self._sensitivity = sensitivities(self._model, self._layers, lost)
        self._next_trial(step)

    def _end_trial(self, step: int, optimizers: Sequence[Optimizer], beside: Sequence[Tensor]) -> None:
        self._score = self._judge(optimizers)
        longer = self._judged_at - self._recovers_from
        self._counter.look(self._model)
        lost = self.target.gain(self._against, self._score)
        self._points.append(point_of(self._counter, self._layers, step, self._score, lost <= self._drop))
        share = self._points[-1].weights / self._whole
        fits = step + longer <= self._until
        verdict = self._trials.judge(lost, share, left=self._until - step, fits=fits)
        if verdict == "again":
            return self._recover(step, step + longer)
        if verdict == "good":
            self._checkpoint = Checkpoint.of(self._model, optimizers, beside)
            self._best = len(self._points) - 1
        elif verdict == "bad":
            self._put_back(optimizers, beside)
        self._next_trial(step)
        if verdict == "doubtful" and self._phase == "holding":
            self._put_back(optimizers, beside)
        return None

    def _put_back(self, optimizers: Sequence[Optimizer], beside: Sequence[Tensor]) -> None:
        assert self._checkpoint is not None
        self._checkpoint.put_back(self._model, optimizers, beside)
        self._score = self._against if self._best is None else self._points[self._best].score

    def _end_training(self, optimizers: Sequence[Optimizer], beside: Sequence[Tensor]) -> None:
        """Judge the trained network; a checkpoint with a better score replaces one that is not within the drop."""
        self._score = self._judge(optimizers)
        best = None if self._best is None else self._points[self._best].score
        if best is not None and not self._is_reached(self._score) and not self.target.gain(self._score, best) >= 0:
            self._put_back(optimizers, beside)
        self._checkpoint = None
        self._ended = True
        if not self._is_reached(self._score):
            _warn(f"the target is not reached: {self._found()}; {self._why}")

    def _is_reached(self, end: float | None = None) -> bool:
        """Tell whether a smaller network within the drop is found, at the end of the training by its score there."""
        return self._best is not None and (end is None or self.target.gain(self._reference, end) <= self._drop)

    def _found(self) -> str:
        """Say which networks were within the drop."""
        if self._best is None:
            tried = f"; {self._points[-1].described(self._whole)}" if self._points else ""
            return f"no smaller network is within {self._drop:g} of {self._reference:g}{tried}"
        return f"{self._points[self._best].described(self._whole)}, dense {self._reference:g}"

    # ── trials ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _until(self) -> int:
        return round(_TRIALS_UNTIL * self.steps)

    def _next_trial(self, step: int) -> None:
        """Choose the next trial's share of the weights and its steps, or hold what is left if there is none."""
        if self._trials.at_the_end:
            return self._hold("no more rows can be removed: layers keep their min_rows largest rows")
        found = self._trials.next(self._until - step, first=not self._points)
        if found is None:
            return self._hold(self._last_trial())
        self._phase, self._first = "shrinking", step
        self._judged_at = step + found[1]
        self._end = step + max(1, round(_SHRINKS * found[1]))
        self._stretch = self._new_stretch()
        return None

    def _last_trial(self) -> str:
        if not self._points:
            return "there are too few steps, or too few rows that can be removed, for a trial"
        last = self._points[-1]
        return f"the last trial, {last.weights:,} weights, had score {last.score:g}"

    def _recover(self, step: int, until: int) -> None:
        """Let the rows that are left train on, the learning rate falling to zero."""
        self._phase, self._stretch = "recovering", None
        self._recovers_from, self._judged_at = step, until

    def rate_share(self, step: int) -> float:
        """The share of the learning rate with which a step is made."""
        if self._phase != "recovering":
            return 1.0
        length = max(1, self._judged_at - self._recovers_from)
        return max(0.0, (self._judged_at - step + 1) / length)

    def _hold(self, why: str) -> None:
        self._phase, self._stretch, self._why = "holding", None, why

    def _new_stretch(self) -> Stretch:
        self._press.figure.ask(self._trials.share * self._whole)
        return Stretch(self._model, self._press)

    # ── its state ───────────────────────────────────────────────────────────────────────────────────────────────

    def progress(self, step: int, rows: Mapping[str, int]) -> DropProgress:
        """Describe the state, as :meth:`Control.progress`."""
        self._counter.look(self._model)
        left, best = self._counter.left().weights, None if self._best is None else self._points[self._best]
        of_all = (
            self._phase,
            step,
            self.steps,
            "accuracy_drop",
            self._drop,
            left,
            self._whole,
            self._is_reached(self._score if self._ended else None),
            rows,
        )
        return DropProgress(*of_all, self._reference, self._score, best, tuple(self._points), self._why)

    @property
    def path(self) -> PruningPath:
        """The trials so far, for another training."""
        if not self._sensitivity:
            raise InvalidValueError("path is known once the free training has ended and its network was judged")
        known = (self._whole, self._reference, self.target.higher_is_better, self._rows, dict(self._sensitivity))
        return PruningPath(*known, tuple(self._points), self._side)

    def state_dict(self) -> dict[str, Any]:
        """The state for a resumed run, the checkpoint included: tensors and plain values only."""
        plain = {name: getattr(self, f"_{name}") for name in _PLAIN}
        return {
            **copy.deepcopy(plain),
            "trials": self._trials.state(),
            "points": [asdict(point) for point in self._points],
            "stretch": None if self._stretch is None else self._stretch.state_dict(),
            "checkpoint": None if self._checkpoint is None else self._checkpoint.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state; one of a target of another kind is an InvalidValueError."""
        if "phase" not in state:
            raise InvalidValueError("the state is that of a target of another kind, not of an accuracy drop")
        for name in _PLAIN:
            setattr(self, f"_{name}", copy.deepcopy(state[name]))
        self._trials.load_state(state["trials"])
        self._points = [PathPoint(**point) for point in state["points"]]
        self._stretch = None
        if state["stretch"] is not None:
            self._stretch = self._new_stretch()
            self._stretch.load_state_dict(state["stretch"])
        self._checkpoint = None if state["checkpoint"] is None else Checkpoint.from_state(state["checkpoint"])
        self._decided = (0, Action())


def _warn(text: str) -> None:
    warnings.warn(text, GrowlWarning, stacklevel=users_stacklevel())
