"""The options that several commands share, and how they become a configuration.

A command with such options is a dataclass: its fields are its options, and what it does is in `__post_init__`. Types,
defaults and descriptions are those of `Config` and `Recipe`.
"""

import dataclasses
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from course_utils.configuration import Config, ConfigurationError, Recipe, describe

Data = Annotated[str, typer.Option(help="A folder of clips, a stored set, or the name mini, urbansound8k or measured.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Out = Annotated[Path, typer.Option(help="The folder to write to.")]
Run = Annotated[Path, typer.Option(help="The folder of a run, as `train --out` made it.")]

_RECIPE = Config(data="").recipe
_OF_RECIPE = {field.name for field in dataclasses.fields(Recipe)}
_OF_CONFIG = {field.name for field in dataclasses.fields(Config)}
_FOLDS = ("train_folds", "valid_folds", "test_folds")
_OF_LOG_MEL = ("n_fft", "hop_length", "n_mels", "fmin", "fmax", "mel_scale", "filter_norm", "noise_snr")
# Options that only one of several choices uses: with another choice they would be ignored.
_ONLY_FOR = {
    ("model", "cnn10"): ("width", *_OF_LOG_MEL, "front_end", "spec_augment"),
    ("model", "crnn"): ("norm", "time_pooling", "readout"),
    ("joint", "overlay"): ("snr_range", "max_onset"),
    ("form", "mel"): _OF_LOG_MEL,
}
_MOST_FOLDS = 1_000  # that one range may name


def _option(name: str) -> Any:
    return typer.Option(help=describe(Recipe if name in _OF_RECIPE else Config, name))


@dataclass(kw_only=True)
class Places:
    """What is worked on, and where the result goes."""

    context: typer.Context
    data: Data
    table: Annotated[str, _option("table")] = Config.table
    columns: Annotated[str, _option("columns")] = Config.columns
    out: Out


@dataclass(kw_only=True)
class MixingOptions:
    """How clips become mixtures."""

    replicas: Annotated[int, _option("replicas")] = _RECIPE.replicas
    shuffle: Annotated[bool, _option("shuffle")] = _RECIPE.shuffle
    balanced: Annotated[bool, _option("balanced")] = _RECIPE.balanced
    joint: Annotated[Literal["concatenate", "slots", "overlay"], _option("joint")] = _RECIPE.joint
    slot_seconds: Annotated[float, _option("slot_seconds")] = _RECIPE.slot_seconds
    equalize_energy: Annotated[bool, _option("equalize_energy")] = _RECIPE.equalize_energy
    snr_range: Annotated[float, _option("snr_range")] = _RECIPE.snr_range
    max_onset: Annotated[float, _option("max_onset")] = _RECIPE.max_onset
    n_clips: Annotated[int, _option("n_clips")] = _RECIPE.n_clips


@dataclass(kw_only=True)
class LogMelOptions:
    """The log-mel in front of CNN10."""

    n_fft: Annotated[int, _option("n_fft")] = Config.n_fft
    hop_length: Annotated[int, _option("hop_length")] = Config.hop_length
    n_mels: Annotated[int, _option("n_mels")] = Config.n_mels
    fmin: Annotated[float, _option("fmin")] = Config.fmin
    fmax: Annotated[float | None, _option("fmax")] = Config.fmax
    mel_scale: Annotated[Literal["slaney", "htk"], _option("mel_scale")] = Config.mel_scale
    filter_norm: Annotated[Literal["slaney", "none"], _option("filter_norm")] = Config.filter_norm
    noise_snr: Annotated[float | None, _option("noise_snr")] = Config.noise_snr


@dataclass(kw_only=True)
class ShareOptions:
    """What is left out, what validates, and the seed."""

    valid_fraction: Annotated[float, _option("valid_fraction")] = Config.valid_fraction
    seed: Annotated[int, _option("seed")] = Config.seed
    sample_rate: Annotated[int, _option("sample_rate")] = Config.sample_rate
    skip_bad: Annotated[bool, _option("skip_bad")] = Config.skip_bad


@dataclass(kw_only=True)
class FoldOptions:
    """Which folds train, validate and test."""

    train_folds: Annotated[str, _option("train_folds")] = ""
    valid_folds: Annotated[str, _option("valid_folds")] = ""
    test_folds: Annotated[str, _option("test_folds")] = ",".join(map(str, Config.test_folds))


@dataclass(kw_only=True)
class SplitOptions(ShareOptions, FoldOptions):
    """How the data is split."""

    split: Annotated[Literal["official", "stratified", "clips", "random"], _option("split")] = Config.split


@dataclass(kw_only=True)
class MachineOptions:
    """What a run computes on."""

    accelerator: Annotated[Literal["auto", "cpu", "cuda", "gpu", "mps"], _option("accelerator")] = Config.accelerator
    precision: Annotated[Literal["auto", "32-true", "bf16-mixed", "16-mixed"], _option("precision")] = Config.precision
    workers: Annotated[int | None, _option("workers")] = Config.workers


@dataclass(kw_only=True)
class DevicesOption:
    """How many devices one network is trained on."""

    devices: Annotated[int, _option("devices")] = Config.devices


@dataclass(kw_only=True)
class TrainingOptions(MachineOptions):
    """What is trained, and how."""

    model: Annotated[str, _option("model")] = Config.model
    width: Annotated[int, _option("width")] = Config.width
    head: Annotated[Literal["labels", "combinations"], _option("head")] = Config.head
    norm: Annotated[Literal["db", "whiten"], _option("norm")] = Config.norm
    time_pooling: Annotated[Literal["report", "fine"], _option("time_pooling")] = Config.time_pooling
    readout: Annotated[Literal["last", "mean", "attention"], _option("readout")] = Config.readout
    train_share: Annotated[float, _option("train_share")] = Config.train_share
    fresh_pairs: Annotated[bool | None, _option("fresh_pairs")] = Config.fresh_pairs
    front_end: Annotated[Literal["log", "pcen"], _option("front_end")] = Config.front_end
    spec_augment: Annotated[bool, _option("spec_augment")] = Config.spec_augment
    mixup: Annotated[bool, _option("mixup")] = Config.mixup
    pos_weight: Annotated[bool, _option("pos_weight")] = Config.pos_weight
    epochs: Annotated[int, _option("epochs")] = Config.epochs
    batch_size: Annotated[int, _option("batch_size")] = Config.batch_size
    optimizer: Annotated[Literal["adam", "amsgrad", "adamw"], _option("optimizer")] = Config.optimizer
    learning_rate: Annotated[float, _option("learning_rate")] = Config.learning_rate
    beta1: Annotated[float, _option("beta1")] = Config.beta1
    weight_decay: Annotated[float, _option("weight_decay")] = Config.weight_decay
    decay: Annotated[Literal["weights", "all"], _option("decay")] = Config.decay
    clip_norm: Annotated[float | None, _option("clip_norm")] = Config.clip_norm
    schedule: Annotated[Literal["constant", "onecycle", "step"], _option("schedule")] = Config.schedule
    patience: Annotated[int, _option("patience")] = Config.patience


def configure(command: Any, **chosen: Any) -> Config:
    """Make a configuration of the options of a command.

    Args:
        command: A dataclass with `data` and `context`, and any of the options above.
        **chosen: Options that the command chooses itself.

    Raises:
        ConfigurationError: If options contradict each other, or one would be ignored.
    """
    from course_utils.storage import is_stored_set

    data, context, options = command.data, command.context, options_of(command) | chosen
    options |= {name: folds_of(options[name], name) for name in _FOLDS if name in options}
    refuse_ignored(options, context)
    if is_stored_set(data):
        options |= _stored_options(data, options, context)
    elif options.get("split") == "random" and any(options[name] and is_given(name, context) for name in _FOLDS):
        raise ConfigurationError("--split random takes no folds: it splits mixtures of all clips")
    elif options.get("split") == "stratified" and any(is_given(name, context) for name in _FOLDS):
        raise ConfigurationError("--split stratified takes no folds: it splits the recordings of all clips")
    elif options.get("split") == "clips" and any(is_given(name, context) for name in ("valid_folds", "test_folds")):
        raise ConfigurationError(
            "--split clips takes no --valid-folds and no --test-folds: shares of the clips do both"
        )
    elif options["valid_folds"] and is_given("valid_fraction", context):
        raise ConfigurationError("--valid-folds and --valid-fraction both say what validates; leave one out")
    recipe = Recipe(**{name: options.pop(name) for name in _OF_RECIPE if name in options})
    options["train_folds"] = options["train_folds"] or None
    return Config(data=data, recipe=recipe, **options)


def options_of(command: Any) -> dict[str, Any]:
    """Return the options of a command that are fields of `Config` or `Recipe`."""
    names = [field.name for field in dataclasses.fields(command)]
    return {name: getattr(command, name) for name in names if name in (_OF_CONFIG | _OF_RECIPE) - {"data"}}


def refuse_ignored(options: dict[str, Any], context: typer.Context) -> None:
    """Refuse an option that was given, and that the chosen network, joint or form does not use.

    Raises:
        ConfigurationError: If there is one; `--no-spec-augment` and the like ask for what is so anyway, and pass.
    """
    for (choice, value), names in _ONLY_FOR.items():
        chosen = options.get(choice, value)
        for name in names if chosen != value else ():
            if name in options and is_given(name, context) and options[name] is not False:
                raise ConfigurationError(
                    f"{flag(name)} is only for --{choice} {value}; with {chosen} it would do nothing, so leave it out"
                )
    if options.get("n_clips") == 1:
        for name in ("replicas", "shuffle", "equalize_energy"):
            if is_given(name, context):
                raise ConfigurationError(
                    f"{flag(name)} is for mixtures; with --n-clips 1 nothing is mixed, so leave it out"
                )


def flag(name: str) -> str:
    """Return how an option is written on the command line."""
    return f"--{name.replace('_', '-')}"


def is_given(name: str, context: typer.Context) -> bool:
    """Say whether an option was given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def as_given(command: Any) -> list[str]:
    """Return the options that were given on the command line, as they were given."""
    given = []
    for name, value in options_of(command).items():
        if is_given(name, command.context):
            switch = {True: flag(name), False: f"--no-{name.replace('_', '-')}"}
            given.append(switch[value] if isinstance(value, bool) else f"{flag(name)} {shlex.quote(str(value))}")
    return given


def folds_of(text: str, name: str) -> tuple[int, ...]:
    """Read folds written as `1,2,5-9`; none, if none are given."""
    folds: list[int] = []
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    for part in parts:
        match = re.fullmatch(r"(\d+)(?: *- *(\d+))?", part, re.ASCII)
        if not match:
            raise ConfigurationError(f"{flag(name)}: {part!r} is not a fold; write 1,2 or 5-9")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 <= last - first < _MOST_FOLDS:
            says = "is an empty range" if last < first else f"names more than {_MOST_FOLDS:,} folds"
            raise ConfigurationError(f"{flag(name)}: {part} {says}; write the lower fold first, as 5-9")
        folds += range(first, last + 1)
    return tuple(folds)


def _stored_options(data: str, options: dict[str, Any], context: typer.Context) -> dict[str, Any]:
    """Return what a stored set was made with, of these options; refuse a flag that says otherwise."""
    from course_utils.storage import read_configuration

    made = read_configuration(data)
    stored = {**made["recipe"], **made["mel"], **made["split"], "sample_rate": made["sample_rate"]}
    if made["form"] == "mel":
        stored["filter_norm"] = stored.pop("norm") or "none"
    stored |= {name: tuple(value or ()) for name, value in stored.items() if name.endswith("_folds")}
    if made["form"] == "mel":
        stored["noise_snr"] = made["noise_snr"]
    stored = {name: value for name, value in stored.items() if name in options}
    for name, value in stored.items():
        if is_given(name, context) and options[name] != value:
            raise ConfigurationError(
                f"{data}: made with {name} {value}, but {options[name]} is asked for; leave {flag(name)} out, or make "
                "another set"
            )
    return stored
