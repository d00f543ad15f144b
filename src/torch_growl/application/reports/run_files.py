"""Input of the report: the files of a run folder, each checked, and checked against one another.

A missing or malformed file is a :class:`RunFolderError` of one line that names the file and the remedy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors.numpy import load

from torch_growl.application.recipes import read_mapping
from torch_growl.checksums import check_text, check_whole, header_place, parse_json, read_front
from torch_growl.errors import FileFormatError, RecipeError, RunFolderError, first_line

__all__ = ["Epoch", "ReportInput", "Result", "SweepPoint", "TiedLayer", "read_run"]

BatchSize = Annotated[str, Field(pattern=r"^[0-9]+$")]
Model = TypeVar("Model", bound=BaseModel)
Arrays = dict[str, NDArray[Any]]


# ── form of the files ───────────────────────────────────────────────────────────────────────────────────────────────


class _Open(BaseModel):
    """Base of all parts: other fields are allowed."""

    model_config = ConfigDict(extra="allow")


class _Pair(_Open):
    dense: float | None
    compact: float | None


class _Counts(_Open):
    dense: int = Field(ge=0)
    compact: int = Field(ge=0)


class _Dataset(_Open):
    name: str
    train: int | None  # None: an iterable dataset, which has no length
    validation: int | None
    test: int | None
    pixel_shape: tuple[int, int] | None = None


class _Layer(_Open):
    name: str
    rows: int = Field(ge=0)
    nonzero: int = Field(ge=0)
    groups: int = Field(ge=0)
    tied: bool = True


class _Cut(_Open):
    layer: str
    form: Literal["full", "local", "none"]
    rows: tuple[int, int]
    outputs: tuple[int, int]
    reason: str | None = None


class _LayerCost(_Open):
    name: str
    type: str = ""
    weights: _Counts
    macs: _Counts


class _Compression(_Open):
    layers: float | None
    network: float | None
    file: float | None


class _Latency(_Open):
    dense: dict[BatchSize, float]
    compact: dict[BatchSize, float]


class _Metric(_Open):
    name: str
    higher_is_better: bool
    unit: str


class _Target(_Open):
    of: str
    asked: float
    left: float
    pruned: float
    dense: float
    reached: bool
    why: str | None


class Result(_Open):
    schema_: Literal[1, 2] = Field(alias="schema")
    recipe: str
    seed: int
    dataset: _Dataset
    model: str
    task: str = "classification"
    metric: _Metric | None = None
    score: dict[str, float | None] | None = None
    accuracy: dict[str, float | None] | None = None
    layers: list[_Layer]
    sparsity: float | None
    sharing: float | None
    compression: _Compression
    parameters: _Pair
    bytes: _Pair
    macs: _Pair
    latency_ms: _Latency
    seconds: dict[str, float]
    environment: dict[str, Any]
    recipe_description: str = ""
    epochs: dict[str, int] = {}
    measure: dict[str, dict[str, Any]] | None = None
    file_bytes: _Pair | None = None
    cuts: list[_Cut] = []
    layer_costs: list[_LayerCost] = []
    notes: list[str] = []
    bytes_held: _Pair | None = None
    checks: dict[str, Any] | None = None
    target: _Target | None = None

    @model_validator(mode="after")
    def _has_a_score(self) -> Result:
        if self.schema_ == 1 and self.accuracy is None:
            raise ValueError("accuracy is missing")
        if self.schema_ == 2 and (self.score is None or self.metric is None):
            raise ValueError("score or metric is missing")
        return self


class TiedLayer(_Open):
    name: str
    labels: list[int]
    side: str = "input"


class _Tying(_Open):
    schema_: Literal[1] = Field(alias="schema")
    layers: list[TiedLayer]


class SweepPoint(_Open):
    strength: float
    run: str
    score: dict[str, float | None] = Field(validation_alias=AliasChoices("score", "accuracy"))
    compression: _Compression


class _Sweep(_Open):
    points: list[SweepPoint]


class _Rows(_Open):
    rows: int = Field(ge=0)
    nonzero: int = Field(ge=0)
    distinct: int = Field(ge=0)


class _Left(_Open):
    of: str
    asked: float
    left: float | None
    dense: float = Field(gt=0)


class Epoch(_Open):
    stage: str
    epoch: int
    train_score: float = Field(validation_alias=AliasChoices("train_score", "train_accuracy"))
    validation_score: float = Field(validation_alias=AliasChoices("validation_score", "validation_accuracy"))
    compression: float
    layers: dict[str, _Rows] = {}
    target: _Left | None = None


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ReportInput:
    """The contents of a run folder that the report is made from.

    Attributes:
        result: ``result.json`` as a dict.
        facts: the same, checked.
        tying: the labels of every regularised layer.
        epochs: the lines of ``metrics.jsonl``.
        norms: row norms by layer, ``(n_recorded, n_rows)``; None when there is no such file.
        rows: rows views by ``layer|stage``, ``(n_rows, row_length)``; None when there is no such file.
        recipe: the text of ``recipe.yaml``.
        chain: whether the compression of the layers also counts filters that zero rows remove, as the paper's for VGG.
        ties: the layers whose rows the recipe ties.
        sweep: the points of the sweep that the run belongs to; empty if it belongs to none.
    """

    result: dict[str, Any]
    facts: Result
    tying: list[TiedLayer]
    epochs: list[Epoch]
    norms: Arrays | None
    rows: Arrays | None
    recipe: str
    chain: bool
    ties: tuple[str, ...]
    sweep: list[SweepPoint]


def read_run(run: Path) -> ReportInput:
    """Read and check the files that the report is made from.

    Raises:
        RunFolderError: a file is missing, malformed or does not fit the others.
    """
    text = _text(run / "result.json", "finish the run with `growl run … --resume`")
    facts = _parse(run / "result.json", text, Result, "make it again with `growl eval RUN --again`")
    tying = _parse(run / "tying.json", None, _Tying, "make it again with `growl tie RUN --again`").layers
    labels = {layer.name: layer.labels for layer in tying}
    for record in facts.layers:
        if len(labels.get(record.name, ())) != record.rows:
            raise RunFolderError(
                f"{run / 'tying.json'}: layer {record.name!r} must have {record.rows} labels, as many as its rows in "
                f"result.json, found {len(labels.get(record.name, ()))}; make both again with `growl tie RUN --again`"
            )
    recipe = _text(run / "recipe.yaml", "put back the recipe that the run was started with")
    settings = _tying(run / "recipe.yaml", recipe)
    groups = settings.get("groups")  # tying in steps names its layers
    return ReportInput(
        result=parse_json(text, "result.json"),
        facts=facts,
        tying=tying,
        epochs=_epochs(run / "metrics.jsonl", facts.epochs),
        norms=_arrays(run / "checkpoints" / "row_norms.safetensors", labels, axis=1),
        rows=_arrays(run / "checkpoints" / "rows.safetensors", labels, axis=0),
        recipe=recipe,
        chain=bool(settings.get("chain")),
        ties=() if settings.get("method") == "none" else tuple(groups if isinstance(groups, dict) else labels),
        sweep=_sweep(run.resolve()),
    )


def _text(path: Path, remedy: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise RunFolderError(f"{path} is not there; {remedy}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path} cannot be read ({error}); {remedy}") from None


def _parse(path: Path, text: str | None, model: type[Model], remedy: str, where: str = "") -> Model:
    try:
        return model.model_validate(parse_json(_text(path, remedy) if text is None else text, f"{path}{where}"))
    except FileFormatError as error:
        raise RunFolderError(f"{error}; {remedy}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise RunFolderError(f"{path}{where}: {field}: {first['msg'][:200]}; {remedy}") from None


def _epochs(path: Path, epochs: dict[str, int]) -> list[Epoch]:
    if epochs and not any(epochs.values()) and not path.exists():  # without any epoch there are no metrics
        return []
    remedy = "the log of the run is lost; do its stages again with `growl train RUN --again`"
    lines = enumerate(_text(path, remedy).split("\n"), start=1)
    found = [_parse(path, line, Epoch, remedy, f", line {n}") for n, line in lines if line.strip()]
    trained = {stage: [each.epoch for each in found if each.stage == stage] for stage in epochs}
    complete = all(
        each == list(range(1, len(each) + 1)) and len(each) == epochs[stage] for stage, each in trained.items()
    )
    if not complete:
        raise RunFolderError(f"{path} must have a record for each epoch of {epochs} in order; {remedy}")
    return found


def _arrays(path: Path, labels: dict[str, list[int]], axis: int) -> Arrays | None:
    """Tensors of an optional file, for layers of the tying, each with the layer's number of rows along ``axis``."""
    if not path.exists():
        return None
    remedy = "delete it to make a report without it"
    try:
        with open(path, "rb") as file:
            if (place := header_place(read_front(file, str(path)))) is not None:
                check_whole(file, place, "damaged")
            file.seek(0)
            found: Arrays = load(file.read())
    except Exception as error:  # a malformed file can raise nearly anything
        raise RunFolderError(f"{path} cannot be read ({first_line(error)}); {remedy}") from None
    arrays = {key: values for key, values in found.items() if key.split("|")[0] in labels}
    for key, values in arrays.items():
        rows = len(labels[key.split("|")[0]])
        if values.ndim != 2 or values.size == 0 or values.shape[axis] != rows:
            raise RunFolderError(f"{path}: {key!r} must be 2-D with {rows} rows, got shape {values.shape}; {remedy}")
        if not np.isfinite(values).all():
            raise RunFolderError(f"{path}: {key!r} must be finite, but has NaN or infinite values; {remedy}")
    return arrays


def _sweep(run: Path) -> list[SweepPoint]:
    """The points of ``sweep.json`` in the folder above, if it names the run."""
    path = run.parent / "sweep.json"
    if not path.is_file():
        return []
    points = _parse(path, None, _Sweep, "delete it to make a report without the sweep's curve").points
    return points if run.name in {point.run for point in points} else []


def _tying(path: Path, text: str) -> dict[str, Any]:
    """The settings of the recipe's tying; empty if it has none."""
    try:
        check_text(text.encode(), "its text")
        tying = read_mapping(text, "its text").get("tying")
    except (FileFormatError, RecipeError) as error:
        raise RunFolderError(f"{path}: {error}; put back the recipe that the run was started with") from None
    return tying if isinstance(tying, dict) else {}
