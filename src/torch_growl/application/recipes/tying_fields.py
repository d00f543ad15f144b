"""The fields of a recipe that group rows, with their types, ranges and meanings."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from torch_growl.application.recipes.penalty_fields import Settings
from torch_growl.networks.targets import COUNTED, Target

__all__ = ["IN_STEPS", "Tying"]

IN_STEPS = ("ward", "least-squares", "shrink")  # methods with a training after each step


class Tying(Settings):
    """Settings of the grouping of rows."""

    method: Literal["affinity", "ward", "least-squares", "shrink", "none"] = Field(
        default="affinity",
        description="affinity: affinity propagation on the similarity of rows; ward: merge the rows of most similar "
        "direction down to the number in groups, in several steps if it has several numbers; least-squares: the same, "
        "but merge those whose tie changes the layer's outputs least, and fit them; shrink: remove and tie rows down "
        "to what left says, as tg.shrink does, and fit the others, in several steps; none: prune only.",
    )
    groups: dict[str, list[int | float]] = Field(
        default_factory=dict,
        description="For ward and least-squares, by layer name or pattern: groups left after every step, as a number "
        "≥ 1 or as a share < 1 of the nonzero rows. Layers without an entry are not tied.",
    )
    left: dict[str, list[float]] = Field(
        default_factory=dict,
        description="For shrink: what is left of the dense network after every step, weights, macs or bytes, such as "
        "bytes: [0.2, 0.1, 0.05]: decreasing shares below 1, or figures from 1 on.",
    )
    drop: float | None = Field(
        default=None,
        gt=0,
        description="For methods in steps: every step is followed by the training in merge, and the last step is "
        "taken after which the metric on the validation split is at most so much worse than the dense network's, in "
        "points or in its unit; null: the target's accuracy_drop, or the last step of all without one.",
    )
    preference: float = Field(
        default=0.8, gt=0, le=1, description="Least similarity of tied rows; the paper: 0.6 and 0.8."
    )
    overrides: dict[str, float] = Field(
        default_factory=dict, description="Other preferences, by layer name or pattern."
    )
    max_ratio: float = Field(
        default=0.95, gt=0, le=1, description="Layers with groups / nonzero rows above this are left untied; 1: none."
    )
    compensate: bool = Field(
        default=False, description="Fit tied rows to the outputs before, on 8 training batches (tg.compensate_)."
    )
    chain: bool = Field(
        default=False,
        description="Count compression.layers as the paper does for VGG: zero rows also remove filters before them.",
    )

    @property
    def steps(self) -> int:
        """The number of steps of tying."""
        return max(map(len, (self.groups or self.left).values()), default=1)

    @property
    def targets(self) -> list[Target]:
        """The targets of all steps of shrinking."""
        given: list[dict[str, Any]] = [{of: amount} for of, amounts in self.left.items() for amount in amounts]
        return [Target(**each) for each in given]

    @property
    def fits(self) -> bool:
        """Tell whether rows that are tied or left are fitted to the outputs before."""
        return self.compensate or self.by_inputs

    @property
    def by_inputs(self) -> bool:
        """Tell whether rows are chosen by what they read, for which training batches are needed."""
        return self.method in ("shrink", "least-squares")

    @property
    def in_steps(self) -> bool:
        """Tell whether the method goes in steps, with a training after each."""
        return self.method in IN_STEPS

    @model_validator(mode="after")
    def _steps_fit(self) -> Tying:
        if self.drop is not None and not self.in_steps:
            raise ValueError("drop needs method 'ward', 'least-squares' or 'shrink', whose steps it chooses from")
        if (self.method == "shrink") != bool(self.left):
            raise ValueError("method 'shrink' needs left, and left needs method 'shrink'")
        for of, steps in self.left.items():
            if len(self.left) > 1 or of not in COUNTED:
                raise ValueError(f"left takes one of weights, macs and bytes, found {', '.join(self.left)}")
            if not steps or steps != sorted(set(steps), reverse=True) or steps[-1] <= 0:
                raise ValueError(f"left.{of} must be decreasing numbers above 0, one for each step, found {steps}")
        if (self.method in ("ward", "least-squares")) != bool(self.groups):
            raise ValueError(
                "groups need method 'ward' or 'least-squares'"
                if self.groups
                else f"method {self.method!r} needs groups, how many are left in each layer"
            )
        for name, steps in self.groups.items():
            if len(steps) != self.steps or not steps:
                raise ValueError(f"groups must have equally many steps for every layer; {name!r} has {len(steps)}")
            if any(not (0 < value < 1 or (value >= 1 and value == int(value))) for value in steps):
                raise ValueError(f"groups of {name!r} must be whole numbers ≥ 1 or shares between 0 and 1")
        return self
