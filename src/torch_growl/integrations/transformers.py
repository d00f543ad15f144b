"""torch-growl in Hugging Face's Trainer, and folders of compact networks. ``docs/trainers.md`` shows both.

The callback's state lies in the checkpoint's ``optimizer.pt``, in the first parameter group: the Trainer restores it
before training goes on, wherever the checkpoint's folder is.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from torch_growl.arguments import check_type
from torch_growl.errors import FileFormatError, GrowlError, InvalidTypeError, InvalidValueError, first_line
from torch_growl.files import write_text
from torch_growl.integrations.distilled_outputs import distil
from torch_growl.integrations.phases import HasPhases, Leave, Phases, moved
from torch_growl.integrations.recovery import LABELS, Recovery, training_batches
from torch_growl.networks.layers import plain_model
from torch_growl.networks.optimizers import kept_random_state
from torch_growl.networks.penalty import unwrapped
from torch_growl.networks.storage import load, save
from torch_growl.networks.targets import Target

try:
    import transformers
    from transformers import PretrainedConfig, PreTrainedModel, TrainerCallback
except ModuleNotFoundError as error:
    if error.name != "transformers":  # it is there, and cannot import a package of its own
        raise
    raise ModuleNotFoundError(
        "torch_growl.integrations.transformers needs the extra torch-growl[transformers]"
    ) from error

__all__ = ["GrowlCallback", "from_pretrained", "save_pretrained"]

WEIGHTS = "growl.safetensors"
_INDEX = "model.safetensors.index.json"
_ADVICE = "compact network of torch-growl, load it with torch_growl.integrations.transformers.from_pretrained"
_THEIRS = ("model*.safetensors", "pytorch_model*.bin*", "tf_model*.h5*", "flax_model*.msgpack*")  # files of weights
_STATE = "growl"  # the key in the first parameter group


class GrowlCallback(HasPhases, TrainerCallback):  # type: ignore[misc]
    """The penalty, or a target, inside Hugging Face's Trainer.

    Args:
        strength: the penalty's, ≥ 0; None: 1.5, :class:`torch_growl.GrOWL`'s own. Not with a target.
        target: what is to be left, in place of a strength: :class:`torch_growl.Target`.
        leave: what :attr:`network` is after training: ``"regularized"``, the trained network, ``"tied"``, the same with
            similar rows tied, or ``"compact"``, the smaller network.
        tie: the preference at which rows are tied, in (0, 1]; None: 0.8 if ``leave`` is ``"tied"``, else no ties.
        tie_from: the share of the steps after which rows are tied and train on together, in (0, 1); with a target at
            least 0.5.
        warmup: the share of the steps in which a strength rises from 0, in [0, 1). Not with a target.
        example_inputs: as for :func:`torch_growl.compact`; None: two examples of the training data, without labels.
        distill: weight of the distillation loss from a teacher's outputs, in [0, 1]; the loss has 1 minus this
            weight.
        temperature: of the distillation loss, > 0.
        distill_features: weight, ≥ 0, of the distance from the teacher's features, the outputs of the network's
            children where their shapes are the same; added to the loss.
        average: decay of a running average of the weights after each step, in [0, 1), which replaces them at the end
            of the training, such as 0.999; 0: none. It begins anew when rows are tied.
        recalibrate: whether batch normalisations are estimated anew on 50 training batches at the end.
        teacher: the dense network for ``distill`` and ``distill_features``; it is put in eval mode. None: a copy of the
            network as it is when training begins, which checkpoints hold too.
        task: a recipe's task, by which outputs are compared; None: by the config and the shape of the logits.
        options: more arguments of :class:`torch_growl.GrOWL`, such as ``layers``, ``overrides`` and ``min_rows``.

    Attributes:
        growl: the penalty; None before training begins.
        network: what is left; None before training has ended.

    Raises:
        InvalidValueError, InvalidTypeError: an argument is outside its range or of the wrong type. When training
            begins: the Trainer uses something that is not served; the message names it.

    Example:
        >>> import torch_growl as tg
        >>> from torch_growl.integrations.transformers import GrowlCallback
        >>> callback = GrowlCallback(target=tg.Target(macs=0.5), leave="compact")
        >>> print(callback.growl, callback.network)  # Trainer(..., callbacks=[callback]).train() makes them
        None None
    """

    def __init__(
        self,
        strength: float | None = None,
        *,
        target: Target | None = None,
        leave: Leave = "regularized",
        tie: float | None = None,
        tie_from: float = 0.75,
        warmup: float = 0.0,
        example_inputs: Any = None,
        distill: float = 0.0,
        temperature: float = 2.0,
        distill_features: float = 0.0,
        average: float = 0.0,
        recalibrate: bool = False,
        teacher: nn.Module | None = None,
        task: str | None = None,
        **options: Any,
    ) -> None:
        recovery = Recovery(distill, temperature, distill_features, average, recalibrate, teacher, task)
        self.phases = Phases(strength, target, leave, tie, tie_from, warmup, example_inputs, options, recovery)
        self.phases.recovery.copied = _copied
        self._saving: RemovableHandle | None = None

    # ── the Trainer's events ────────────────────────────────────────────────────────────────────────────────────

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Attach the penalty; go on where the checkpoint was written."""
        recovery = self.phases.recovery
        _check_served(args, state, recovery)
        optimizer = unwrapped(given["optimizer"])
        if self._saving is not None:
            self._saving.remove()
        loaded = optimizer.param_groups[0].pop(_STATE, None)
        if loaded is not None:
            self.phases.load_state_dict(loaded)
        model = given["model"]
        self.phases.begin(
            model,
            [optimizer],
            int(state.max_steps),
            int(state.global_step),
            lambda: _examples(given["train_dataloader"], args.label_names),
            lambda: _batches(given["train_dataloader"], args),
        )
        if recovery.distills:
            distil(self, plain_model(model), recovery)
        self._saving = optimizer.register_state_dict_post_hook(self._with_state)

    def _with_state(self, optimizer: Any, state: dict[str, Any]) -> None:
        state["param_groups"][0][_STATE] = self.phases.state_dict()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Tie the rows when it is time."""
        self.phases.after_step(int(state.global_step) + 1, given["model"])

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **given: Any) -> None:
        """Add the rows that are left, and what is left of a target's measure, to the Trainer's log."""
        if logs is not None and "loss" in logs:
            values = self.phases.values()
            logs.update(values)
            if state.log_history:
                state.log_history[-1].update(values)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Detach the penalty and make what was asked for."""
        if self._saving is not None:
            self._saving.remove()
            self._saving = None
        with _own_forward(given["model"]):
            self.phases.finish(given["model"])


def _check_served(args: Any, state: Any, recovery: Recovery) -> None:
    """Refuse what the callback does not serve."""
    if args.load_best_model_at_end:
        raise InvalidValueError(
            "load_best_model_at_end puts back the best checkpoint, which may be one from before rows were removed; set "
            "it to False, or ask for Target(accuracy_drop=…), which keeps the smallest network within a drop"
        )
    if getattr(args, "deepspeed", None):
        raise InvalidValueError("DeepSpeed is not served: it steps on copies of the weights; use DDP")
    if getattr(args, "fsdp", None):
        raise InvalidValueError(
            "GrowlCallback does not serve the Trainer's fsdp option, whose checkpoints have no place for the "
            "penalty's state; use DDP, or GrOWL in a loop of your own with fully_shard"
        )
    if recovery.distills and (args.label_smoothing_factor or args.n_gpu > 1):
        raise InvalidValueError(
            "distill and distill_features are not served with "
            + ("label_smoothing_factor; set it to 0" if args.label_smoothing_factor else "DataParallel; use DDP")
        )
    if state.max_steps < 1:
        raise InvalidValueError("the Trainer does not know its number of steps; give max_steps")


def _examples(loader: Any, label_names: Any) -> dict[str, Any]:
    """Two examples of the training data as a batch of named inputs, without labels."""
    remedy = "give GrowlCallback(example_inputs=…)"
    try:
        data = loader.dataset
        batch = loader.collate_fn([data[i] for i in range(min(2, len(data)))])
    except Exception as error:  # a dataset and a collator are the user's code
        raise InvalidValueError(
            f"no example inputs can be made of the training data ({first_line(error)}); {remedy}"
        ) from None
    if not isinstance(batch, Mapping):
        raise InvalidTypeError(f"the training data's batches are {type(batch).__name__}, not named inputs; {remedy}")
    return _unlabelled(batch, label_names)


def _unlabelled(batch: Mapping[str, Any], label_names: Any) -> dict[str, Any]:
    labels = {*LABELS, "label_ids", *(label_names or ())}
    return {name: value for name, value in batch.items() if name not in labels}


def _batches(loader: Any, args: Any) -> Iterator[Any]:
    """Batches of the network's inputs on its device."""
    for batch in training_batches(loader, args.train_batch_size):
        yield moved(_unlabelled(batch, args.label_names), args.device)


def _copied(model: nn.Module) -> nn.Module:
    with _own_forward(model):
        return copy.deepcopy(model)


@contextmanager
def _own_forward(model: nn.Module) -> Iterator[None]:
    """Give the network its class's ``forward`` in place of accelerate's for mixed precision, so that copies have it."""
    own = vars(model)
    patched: dict[str, Any] = {name: own.pop(name) for name in ("forward", "_original_forward") if name in own}
    if patched and getattr(patched.get("_original_forward"), "__func__", None) is not type(model).forward:
        own.update(patched)  # another's
        patched = {}
    try:
        yield
    finally:
        own.update(patched)


# ── folders of compact networks ─────────────────────────────────────────────────────────────────────────────────────


def save_pretrained(small: nn.Module, folder: str | os.PathLike[str], *, dtype: str | None = None) -> None:
    """Write a compact network of transformers as a folder that :func:`from_pretrained` loads.

    The folder has the network's own config, its generation config and the compact file ``growl.safetensors``; save
    the tokenizer beside them as ever. transformers' own ``from_pretrained`` refuses the folder with an error that names
    this module's.

    Args:
        small: a network of a class of transformers, from :func:`torch_growl.compact`; not modified.
        folder: made if it does not exist.
        dtype: as for :func:`torch_growl.save`.

    Raises:
        InvalidTypeError: ``small`` is no network of transformers.
        InvalidValueError: the folder holds weights that transformers would load in place of these.
        GrowlError: as for :func:`torch_growl.save`.
    """
    model = plain_model(check_type("small", small, nn.Module))
    if not isinstance(model, PreTrainedModel):
        raise InvalidTypeError(
            f"small must be a network of transformers (a PreTrainedModel), got {type(model).__name__}; for others "
            "there is tg.save"
        )
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise InvalidValueError(f"{path} is a file, not a folder")
    _check_no_weights(path)
    path.mkdir(parents=True, exist_ok=True)
    save(model, path / WEIGHTS, dtype=dtype)
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    setattr(config, "dtype" if hasattr(config, "dtype") else "torch_dtype", model.dtype)  # its name before 4.56
    config.save_pretrained(path)
    if getattr(model, "generation_config", None) is not None and model.can_generate():
        model.generation_config.save_pretrained(path)
    # transformers looks for the file that this index names, and shows its name when it is missing.
    index = {"metadata": {}, "weight_map": {"weights": f"{_ADVICE}.safetensors"}}
    write_text(path / _INDEX, json.dumps(index, indent=2))


def _check_no_weights(path: Path) -> None:
    """Refuse a folder with weights that transformers' own ``from_pretrained`` would load."""
    found = [file for pattern in _THEIRS for file in sorted(path.glob(pattern))]
    index = path / _INDEX
    if index.is_file() and _ADVICE not in index.read_text("utf-8", errors="replace"):
        found.append(index)
    if found:
        raise InvalidValueError(
            f"{path} holds {found[0].name}, weights that transformers would load in place of the compact network; "
            "choose another folder, or delete that file"
        )


def from_pretrained(folder: str | os.PathLike[str], *, cls: type[PreTrainedModel] | None = None) -> PreTrainedModel:
    """Load a compact network from a folder that :func:`save_pretrained` wrote, in eval mode.

    Args:
        folder: the folder.
        cls: the network's class; None: the class of transformers that the config names.

    Raises:
        FileFormatError: the folder holds no compact network, or a damaged one.
        InvalidTypeError: ``cls`` is no class of networks of transformers.
        InvalidValueError: the config names no class of transformers; give ``cls``.
    """
    path = Path(folder)
    for name in (WEIGHTS, "config.json"):
        if not (path / name).is_file():
            raise FileFormatError(f"{path} holds no {name}; it is not a folder that save_pretrained wrote")
    if cls is not None and not _is_model_class(cls):
        raise InvalidTypeError(f"cls must be a class of networks (a subclass of PreTrainedModel), got {cls!r}")
    config = _config(path, cls)
    model_class = _class_named_by(config, path / "config.json") if cls is None else cls
    try:
        with kept_random_state():
            dense = model_class._from_config(config)
    except Exception as error:  # a config of another class, for example
        raise FileFormatError(f"{path / 'config.json'} gives no {model_class.__name__}: {first_line(error)}") from None
    small = load(path / WEIGHTS, dense).eval()
    if (path / "generation_config.json").is_file():
        small.generation_config = transformers.GenerationConfig.from_pretrained(path)
    return small


def _is_model_class(kind: Any) -> bool:
    return (
        isinstance(kind, type) and issubclass(kind, PreTrainedModel) and getattr(kind, "config_class", None) is not None
    )


def _class_named_by(config: PretrainedConfig, file: Path) -> type[PreTrainedModel]:
    names = config.architectures or [""]
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise FileFormatError(f"{file}: architectures must be a list of one class's name, got {names!r}")
    found = getattr(transformers, names[0], None) if names[0] else None
    if found is None:
        raise InvalidValueError(
            f"{file.parent}: the config names the class {names[0]!r}, which transformers does not have; give cls="
        )
    if not _is_model_class(found):
        raise FileFormatError(f"{file}: architectures names {names[0]!r}, which is no class of networks")
    model_class: type[PreTrainedModel] = found
    return model_class


def _config(path: Path, cls: type[PreTrainedModel] | None) -> PretrainedConfig:
    try:
        kind = transformers.AutoConfig if cls is None else cls.config_class
        return kind.from_pretrained(path)
    except GrowlError:
        raise
    except Exception as error:  # a malformed config can raise nearly anything
        raise FileFormatError(f"{path / 'config.json'} cannot be read: {first_line(error)}") from None
