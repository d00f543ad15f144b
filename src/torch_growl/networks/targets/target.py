"""Targets: what is to be left of a network, as a share or a figure, or how much its score may drop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from torch import nn

from torch_growl.arguments import check_choice, check_count, check_number
from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.networks.storage import FILE_DTYPES

__all__ = ["COUNTED", "MEASURES", "Measure", "Target", "as_text"]

Measure = Literal["weights", "macs", "bytes", "file_bytes", "latency_ms", "accuracy_drop"]
_RUNTIMES = ("eager", "onnxruntime")
MEASURES: tuple[Measure, ...] = get_args(Measure)
COUNTED: tuple[Measure, ...] = ("weights", "macs", "bytes")  # exactly, without a network being made


def as_text(of: str, amount: float) -> str:
    """A figure of a measure as text, without its unit: milliseconds with four digits, others as whole numbers.

    A share of a small network can be less than 1, and is shown with two digits.
    """
    if of == "latency_ms":
        return f"{amount:.4g}"
    return f"{amount:.2g}" if 0 < amount < 1 else f"{amount:,.0f}"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A target: the most that is to be left of a network after compaction, or the most that its score may drop.

    A number of weights, macs or bytes below 1 is a share of the dense network's, a number from 1 an absolute figure.

    Args:
        weights: elements of all parameters.
        macs: multiply-adds of one example.
        bytes: size in memory of all parameters and buffers, indices included.
        file_bytes: size of the compact file that :func:`torch_growl.save` writes, header included; a share is one of
            the dense network's file in its own types. It is counted on the way, and real files correct the count.
        dtype: with ``file_bytes``: the ``dtype`` that the file will be saved with.
        latency_ms: milliseconds of one call on this machine, in eval mode, with torch's present number of threads. It
            is estimated from the time of every layer at a few widths, and real networks, timed side by side with the
            dense one, correct the estimate; this takes seconds, with onnxruntime minutes for a large network.
        batch: with ``latency_ms``: the examples in one call, ≥ 1.
        runtime: with ``latency_ms``: ``"eager"``, or ``"onnxruntime"``, which needs the ``onnx`` extra.
        accuracy_drop: the most that the score may be worse than the dense network's, in the unit of ``validate``; the
            smallest network (in weights) within it is looked for.
        validate: with an accuracy drop: a function that takes the network, in eval mode, and returns its score on
            images, texts or whatever it is for that it is not trained on. It is called 10 to 30 times in a training.
            In a distributed training it must return the same on every process.
        higher_is_better: whether a higher score is the better one.
        reference: the dense network's score, if it is known. None: the best that the network reaches before its rows
            shrink, so start from trained weights; with a standard error the mean of those within one of the best.
        standard_error: with an accuracy drop: the standard error of a score, in its unit, ≥ 0; of an accuracy p in per
            cent on n examples 100 √(p (1 − p) / n). A trial whose score is within one standard error beyond the drop
            does not end the search, since chance decides there. None: 0.
        compensate: whether the rows that have to go become zero in one step, after three tenths of the steps, and
            those that stay take over what they carried, by least squares on inputs without labels; all steps that are
            left are for recovery. A list of at least two batches on the network's device, as for
            :func:`torch_growl.compensate_`, a few hundred examples: on these; in a distributed training every process
            must be given the same ones. True: on the last inputs that the network is called with, with gradients, in
            about 40 steps before: 640 examples or 1 GiB, at least two batches; where that turns out to be impossible,
            rows shrink slowly, with a warning. False: rows shrink slowly. None: as True of weights, macs and bytes,
            with one optimizer and one process, without sharded weights and a path; else as False.
            Of weights, macs and bytes the rows are those that :func:`torch_growl.shrink` removes with ``ties=False``:
            the outputs suffer least from their absence. Of other measures, with a path, and where that choice cannot
            meet the target, they are those of smallest norm. Not with an accuracy drop.
        ties: of weights, macs or bytes: whether rows may be tied in that step too, where that costs less than to
            remove them, as :func:`torch_growl.shrink` does. Tied rows have their mean after every later step, and the
            compact network sums their inputs. Not with ``compensate=False``, channels as rows or a path; one process
            and one optimizer, as for True.

    Raises:
        InvalidValueError: not exactly one measure is given, it is not above 0, or something is given that does not go
            with it.
        InvalidTypeError: it is no number, or ``validate`` is no function.

    Example:
        >>> import torch_growl as tg
        >>> tg.Target(macs=0.5)
        Target(macs=0.5)
        >>> tg.Target(bytes=100_000).of
        'bytes'
        >>> tg.Target(accuracy_drop=0.3, validate=lambda network: 97.0)
        Target(accuracy_drop=0.3)
    """

    weights: float | None = None
    macs: float | None = None
    bytes: float | None = None
    file_bytes: float | None = None
    dtype: str | None = None
    latency_ms: float | None = None
    batch: int = 1
    runtime: str = "eager"
    accuracy_drop: float | None = None
    validate: Callable[[nn.Module], float] | None = None
    higher_is_better: bool = True
    reference: float | None = None
    standard_error: float | None = None
    compensate: Sequence[Any] | bool | None = field(default=None, compare=False)
    ties: bool = False

    def __post_init__(self) -> None:
        given = self._given()
        if len(given) != 1:
            names = f"{', '.join(MEASURES[:-1])} and {MEASURES[-1]}"
            raise InvalidValueError(f"Target takes one of {names}, got {sorted(given) or 'none'}")
        judged = self.of == "accuracy_drop"
        why = "in the unit of the score" if judged else "a share below 1, or an absolute figure"
        check_number(self.of, getattr(self, self.of), above=0, why=why)
        if self.dtype is not None:
            check_choice("dtype", self.dtype, FILE_DTYPES)
            if self.of != "file_bytes":
                raise InvalidValueError(f"Target: dtype is for file_bytes, the file it is saved in; got {self.of}")
        check_count("batch", self.batch)
        check_choice("runtime", self.runtime, _RUNTIMES)
        if (self.batch, self.runtime) != (1, "eager") and self.of != "latency_ms":
            raise InvalidValueError(f"Target: batch and runtime are for latency_ms; got {self.of}")
        if judged != (self.validate is not None):
            raise InvalidValueError(
                "Target: accuracy_drop and validate, a function that returns a network's score, go together"
            )
        if judged and not callable(self.validate):
            raise InvalidTypeError(f"validate must be a function of the network, got {type(self.validate).__name__}")
        if not judged and not (self.reference is None and self.standard_error is None and self.higher_is_better):
            raise InvalidValueError("Target: reference, standard_error and higher_is_better are for an accuracy_drop")
        if self.reference is not None:
            check_number("reference", self.reference)
        if self.standard_error is not None:
            check_number("standard_error", self.standard_error, least=0)
        inputs = self.compensate
        if (
            inputs is not None
            and type(inputs) is not bool
            and (not isinstance(inputs, list | tuple) or len(inputs) < 2)
        ):
            raise InvalidValueError(
                "Target: compensate takes a list of at least two batches of inputs, one to fit and one held out, True "
                "for those of the training, False or None"
            )
        if judged and inputs is not None and inputs is not False:
            raise InvalidValueError("Target: an accuracy_drop takes no compensate, because its rows go in many trials")
        if type(self.ties) is not bool:
            raise InvalidTypeError(f"ties must be True or False, got {self.ties!r}")
        if self.ties and (inputs is False or self.of not in COUNTED):
            raise InvalidValueError(
                "Target: ties need compensate, inputs by which rows are found that can share a value, and weights, "
                f"macs or bytes; got {self.of}{' and compensate=False' if inputs is False else ''}"
            )
        if isinstance(inputs, list | tuple):
            object.__setattr__(self, "compensate", list(inputs))  # a tuple would be one batch of several inputs

    @property
    def batches(self) -> list[Any] | None:
        """The batches that are given for ``compensate``."""
        return self.compensate if isinstance(self.compensate, list) else None

    def _given(self) -> list[Measure]:
        return [name for name in MEASURES if getattr(self, name) is not None]

    @property
    def of(self) -> Measure:
        """The measure that is asked for."""
        return self._given()[0]

    @property
    def value(self) -> float:
        """The share or the figure that is asked for."""
        return float(getattr(self, self.of))

    def amount(self, whole: float) -> float:
        """The most that may be left of a network, as an absolute figure.

        Args:
            whole: the dense network's figure.

        Raises:
            InvalidValueError: it is not less than the dense network's.
        """
        asked = self.value * whole if self.value < 1 else self.value
        if asked >= whole:
            raise InvalidValueError(
                f"target: {self.of} must be less than the dense network's {self.text(whole)}, got {self.text(asked)}"
            )
        return asked

    def gain(self, score: float, over: float) -> float:
        """By how much a score is better than another."""
        return score - over if self.higher_is_better else over - score

    def best(self, scores: Sequence[float]) -> float:
        """The best of several scores."""
        return max(scores) if self.higher_is_better else min(scores)

    def equal_to_best(self, scores: Sequence[float]) -> float:
        """The mean of the scores that are within one standard error of the best; the best one alone is so by chance."""
        best = self.best(scores)
        equal = [score for score in scores if self.gain(best, score) <= (self.standard_error or 0.0)]
        return sum(equal) / len(equal)

    def doubtful_unit(self, reference: float) -> str:
        """Say that an accuracy drop may be meant in per cent of a score that is a share; empty if it is not."""
        if (
            self.accuracy_drop is None
            or not self.higher_is_better
            or not 0 < reference <= 1
            or self.accuracy_drop < 0.1
        ):
            return ""
        return (
            f"accuracy_drop={self.accuracy_drop:g} has the unit of the validation function, which gave {reference:g}; "
            "for points of per cent let it return per cent"
        )

    def score(self, model: nn.Module) -> float:
        """Call the validation function.

        Raises:
            InvalidTypeError: it returns no number.
        """
        found: Any = cast(Any, self.validate)(model)
        value = found.item() if hasattr(found, "item") and getattr(found, "ndim", 1) == 0 else found
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidTypeError(f"validate must return a number, a network's score; got {type(found).__name__}")
        return float(value)

    def rounded(self, amount: float) -> float:
        """A figure of the measure: a whole number, or milliseconds."""
        return float(f"{amount:.4g}") if self.of == "latency_ms" else round(amount)

    def text(self, amount: float) -> str:
        """A figure of the measure as text, without its unit."""
        return as_text(self.of, amount)

    def __repr__(self) -> str:
        others = [("dtype", None), ("batch", 1), ("runtime", "eager"), ("ties", False)]
        said = "".join(f", {name}={found!r}" for name, usual in others if (found := getattr(self, name)) != usual)
        if self.compensate is not None:
            said += f", compensate={self.compensate if self.batches is None else f'{len(self.batches)} batches'}"
        return f"Target({self.of}={self.value:g}{said})"
