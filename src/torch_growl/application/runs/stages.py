"""The stages of a run: train, tie, retrain, compact, eval. Each reads and writes files of the run folder alone.

A stage that is done is not done again. So a run can be stopped at any moment and resumed, and each stage can be called
on its own.
"""

from __future__ import annotations

import copy
import json
import time
import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from torch_growl.application.recipes import STAGE_NAMES
from torch_growl.application.reports import collapse
from torch_growl.application.runs.evaluation import make_result
from torch_growl.application.runs.listeners import event_log
from torch_growl.application.runs.run import Run
from torch_growl.application.training import Trainer
from torch_growl.arguments import check_choice
from torch_growl.checksums import sealed_json
from torch_growl.errors import GrowlWarning
from torch_growl.files import write_text
from torch_growl.mathematics.compiled import compilations
from torch_growl.networks.compaction import compact, load_expanded_
from torch_growl.networks.layers import rows_of
from torch_growl.networks.penalty import GrOWL
from torch_growl.networks.sharding import whole_state
from torch_growl.networks.storage import save
from torch_growl.networks.tying import existing_tying

__all__ = ["do_stage", "do_stages"]


def do_stages(run: Run, last: str = "eval") -> None:
    """Do every stage up to ``last`` that is not done yet.

    Raises:
        InvalidValueError: the stage is unknown.
        GrowlError: training diverged, or a file of the run folder cannot be used.
    """
    for stage in STAGE_NAMES[: STAGE_NAMES.index(check_choice("stage", last, STAGE_NAMES)) + 1]:
        do_stage(run, stage)


def do_stage(run: Run, stage: str) -> None:
    """Do one stage, unless it is done.

    Raises:
        InvalidValueError: the stage is unknown.
        RunFolderError: a stage before it is not done.
        GrowlError: training diverged, or a file of the run folder cannot be used.
    """
    do = _DO[check_choice("stage", stage, STAGE_NAMES)]
    with compilations(run.watcher.compiling):
        if do not in (_compact, _evaluate):
            do(run)
        elif run.folder.writes:  # of several processes, the first one does these
            with run.alone():
                do(run)
    run.wait()


def _train(run: Run) -> None:
    run.check_task()
    _fit(run, "dense", run.network())
    model = run.network()
    if run.recipe.train.start == "dense":
        model.load_state_dict(run.trained("dense").state_dict())
    elif run.recipe.train.start == "given":
        model.load_state_dict(run.folder.given_weights(run.recipe))
    penalty = run.penalty(run.shard_(model), run.trained("dense"))
    _fit(run, "train", model, penalty=penalty)
    finished = run.folder.finished("train", run.recipe)
    if penalty is not None and run.recipe.accuracy_drop is not None:
        penalty.load_state_dict(finished["growl"])  # trained by another process where the run was stopped
        if run.folder.writes:
            penalty.path.save(run.folder.path_file)
    norms = finished["norms"]
    if norms:
        run.folder.save_tensors("row_norms", {name: torch.stack(list(values)) for name, values in norms.items()})


def _tie(run: Run) -> None:
    if run.decided(run.folder.tying_file.is_file):  # a slower process might see the file of this very stage
        return
    run.watcher.stage("tie", 0, 0)
    model = run.trained("train").cpu()
    networks = [copy.deepcopy(model.state_dict())]
    for step, name in enumerate(run.merges):
        tying = run.decided(partial(run.next_tying, model, step))
        if run.recipe.tying.fits:
            model = run.compensated(model.to(run.device), tying)
        model = run.with_structure(model, tying)
        _fit(run, name, copy.deepcopy(model), counts=tying.counts())
        model.load_state_dict(run.folder.finished(name, run.recipe)["model"])
        model = run.plain(model).eval()
        networks.append(copy.deepcopy(model.state_dict()))
    drop = run.recipe.tying_drop
    if drop is not None:
        model = load_expanded_(run.network(), _last_good(run, drop, networks)).eval()
    if drop is None:
        found = run.decided(partial(run.next_tying, model, -1))
        if run.recipe.tying.fits:
            model = run.compensated(model.to(run.device), found).cpu()
    else:
        found = existing_tying(model, run.layers, run.side)
    if run.merges or run.recipe.tying.fits:
        run.folder.save_checkpoint("grouped", run.recipe, {"epoch": 0, "model": model.state_dict()})
    if run.folder.writes:
        write_text(run.folder.tying_file, sealed_json(json.loads(found.to_json())))


def _last_good(run: Run, drop: float, networks: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the last network that is within a drop of the dense network's score; the first one if no other is.

    Args:
        run: the run.
        drop: in the unit in which the metric is shown.
        networks: the network before tying and after every step, in the dense network's shapes.
    """
    dense = run.validation_score(run.trained("dense"))
    for state in reversed(networks[1:]):
        model = load_expanded_(run.network(), state)
        if run.task.metric.lost(dense, run.validation_score(model)) <= drop:
            return state
    warnings.warn(
        f"no rows are tied: after each step of tying the network is more than {drop:g} worse in "
        f"{run.task.metric.name} than the dense one",
        GrowlWarning,
        stacklevel=2,
    )
    return networks[0]


def _retrain(run: Run) -> None:
    tying = run.tying()
    _fit(run, "retrain", run.with_structure(run.grouped(), tying), counts=tying.counts())
    rows = {}
    for model, label in ((run.trained("train"), "trained"), (run.trained("retrain"), "retrained")):
        for name in run.layers:
            rows[f"{name}|{label}"] = rows_of(model.get_submodule(name), run.side).detach().float().cpu()
    run.folder.save_tensors("rows", rows)


def _compact(run: Run) -> None:
    if run.folder.model_file.is_file():
        return
    run.watcher.stage("compact", 0, 0)
    small = compact(run.trained("retrain").cpu(), run.example(), full=run.recipe.compact.full)
    save(small, run.folder.model_file, dtype=run.recipe.compact.dtype)


def _evaluate(run: Run) -> None:
    if run.folder.result_file.is_file():
        return
    run.watcher.stage("eval", 0, 0)
    started = time.perf_counter()
    result = make_result(run)
    result["seconds"]["eval"] = time.perf_counter() - started
    write_text(run.folder.result_file, sealed_json(result, indent=2))


_DO = dict(zip(STAGE_NAMES, (_train, _tie, _retrain, _compact, _evaluate), strict=True))


def _fit(
    run: Run, name: str, model: nn.Module, *, penalty: GrOWL | None = None, counts: dict[str, Any] | None = None
) -> None:
    """Do one training, from its checkpoint where there is one, unless it is done.

    Args:
        run: the run.
        name: ``dense``, ``train``, ``merge1``, … or ``retrain``.
        model: the network at the training's start; trained in place.
        penalty: applied after the optimizer's steps.
        counts: rows and compression for the metrics, where the structure is enforced; None: counted every epoch.
    """
    folder, phase, metric = run.folder, run.recipe.trainings[name], run.task.metric
    state = folder.load_checkpoint(name, run.recipe)
    done = 0 if state is None else int(state["epoch"])
    if state is not None and done >= phase.epochs:
        return
    folder.trim_metrics(name, done, run.recipe)
    run.watcher.stage(name, phase.epochs, done)

    with event_log(folder.path / "tensorboard", name, done, writes=folder.writes) as events:
        records = folder.records(name, done, run.recipe)

        def log(record: dict[str, Any]) -> None:
            folder.append_metrics(record)
            events(record)
            run.watcher.epoch(record, f"{metric.name} {metric.text(record['validation_score'])}")
            said = bool(collapse(records, metric))
            records.append(record)
            tries = run.recipe.accuracy_drop is not None  # its bad trials are taken back
            if folder.writes and penalty is not None and not tries and not said and (note := collapse(records, metric)):
                warnings.warn(note, GrowlWarning, stacklevel=2)

        trainer = Trainer(
            name,
            phase,
            run.recipe.seed,
            run.accelerator,
            save=lambda state: folder.save_checkpoint(name, run.recipe, state),
            log=log,
            progress=run.watcher.step,
            layers=run.layers,
            side=run.side,
            counts=counts,
            teacher=run.trained("dense") if phase.distill or phase.distill_features else None,
            task=run.task,
            reading=run.reading,
            test_size=run.testing["size"],
        )
        settings = run.recipe.growl
        often: dict[str, Any] = {}
        if settings is not None:
            often = {"every": settings.every, "warmup": settings.warmup_epochs}
        often["target"] = run.recipe.target is not None
        trainer.fit(run.shard_(model), run.splits.train, run.splits.validation, growl=penalty, state=state, **often)
    if not phase.epochs:  # nothing to train: the training ends where it starts
        state = {"epoch": 0, "model": whole_state(model), "seconds": 0.0, "norms": {}}
        folder.save_checkpoint(name, run.recipe, state)
    run.wait()
