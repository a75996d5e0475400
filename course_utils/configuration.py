"""The configuration of a run: every number that decides what it computes, with its default and its reason."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal


class ConfigurationError(ValueError):
    """A configuration that cannot be run; the message names the value and what to do."""


# What runs did before a field for it existed, where that differs from the field's default.
_BEFORE = {"decay": "all", "clip_norm": 0.0}
_OF_OLD_RECIPES = {"n_clips": 2}
_RENAMED = {("joint", "butt"): "concatenate"}  # of a recipe


def describe(settings: type[Recipe] | type[Config], name: str) -> str:
    """Return the description of a field of `Recipe` or `Config`."""
    return typing.get_type_hints(settings, include_extras=True)[name].__metadata__[0]


@dataclass(frozen=True)
class Recipe:
    """How clips become a mixture; the defaults are the student report's, where it gives them.

    Every field carries its description, see `describe`.
    """

    replicas: Annotated[int, "How often every clip occurs among the pairs."] = 3
    shuffle: Annotated[bool, "Shuffle before pairing; without it neighbours in the listing are paired."] = True
    balanced: Annotated[
        bool,
        "Draw all combinations equally often, instead of pairing replicas. A validation or test part that was "
        "split off before mixing is never balanced.",
    ] = False
    joint: Annotated[
        Literal["concatenate", "slots", "overlay"],
        "`concatenate` joins the second clip to the end of the first; `slots` puts each into a slot of fixed length; "
        "`overlay` adds the second to the first.",
    ] = "concatenate"
    slot_seconds: Annotated[float, "Length of a slot, in seconds."] = 4.0
    equalize_energy: Annotated[bool, "Scale all clips to the same energy (sum of squares) before joining."] = False
    snr_range: Annotated[
        float,
        "For `overlay`: the first clip is at most this many dB louder or softer than each of the others.",
    ] = 10.0
    max_onset: Annotated[float, "For `overlay`: the others begin up to this many seconds after the first clip."] = 2.0
    n_clips: Annotated[
        int,
        "Clips in a mixture, 1 to 4. With 1 nothing is mixed, and every clip is taken once: in a slot of its own (`slots`), "
        "or whole (`concatenate`).",
    ] = 2

    def __post_init__(self) -> None:
        _check_kinds(self)
        _check_range(self, "replicas", at_least=1)
        _check_range(self, "slot_seconds", above=0)
        for name in ("snr_range", "max_onset"):
            _check_range(self, name, at_least=0)
        _check_range(self, "n_clips", at_least=1, at_most=4)
        if self.balanced and self.n_clips != 2:
            raise ConfigurationError(f"balanced draws pairs of classes, for n_clips 2, not {self.n_clips}")
        if self.joint == "overlay" and self.n_clips == 1:
            raise ConfigurationError("an overlay is of two clips or more; with n_clips 1 choose another joint")
        if self.balanced and not self.shuffle:
            raise ConfigurationError("balanced draws at random; it cannot leave the shuffle out")
        if self.equalize_energy and self.joint == "overlay":
            raise ConfigurationError("equalize_energy is for clips that are joined; in an overlay snr_range decides")

    @property
    def noun(self) -> str:
        """What to call what a run learns from: `mixtures`, or `clips` if nothing is mixed."""
        return "clips" if self.n_clips == 1 else "mixtures"

    @property
    def seconds(self) -> float:
        """Length of a mixture of clips that each fill a slot: batches are padded to it."""
        if self.joint == "overlay":
            return self.slot_seconds + self.max_onset
        return self.n_clips * self.slot_seconds


@dataclass(frozen=True)
class Config:
    """Everything that decides what a run computes. It is stored in every checkpoint.

    Every field carries its description, see `describe`.
    """

    data: Annotated[str, "A folder of clips, a stored set of mixtures, or `mini`, `urbansound8k` or `measured`."]
    table: Annotated[
        str,
        "The table of a folder of clips, or several, such as `annotations/**/*.txt`; empty means the one in `metadata` or "
        "in the folder itself.",
    ] = ""
    columns: Annotated[
        str,
        "What the table calls `file`, `labels`, `class`, `classID`, `recording`, `fold`, `start`, `end` and `salience`, "
        "such as `file=fname,labels=tags`. A number is the position of a column, counted from 0, in a table without a "
        "header; `TABLE` is the name of the table, and `FOLDER` is the name of its folder.",
    ] = ""
    model: Annotated[str, "`cnn10`, `crnn`, or a name given to `models.register`."] = "cnn10"
    width: Annotated[int, "Channels of CNN10's first block; 64 is the paper's."] = 64
    head: Annotated[
        Literal["labels", "combinations"],
        "`labels` (one sigmoid per class) or `combinations` (one per pair).",
    ] = "labels"
    norm: Annotated[Literal["db", "whiten"], "The CRNN's normalisation, `db` or `whiten`."] = "db"
    time_pooling: Annotated[
        Literal["report", "fine"],
        "How the CRNN pools time: as in the `report`, leaving two steps for 8 s, or `fine`.",
    ] = "report"
    readout: Annotated[
        Literal["last", "mean", "attention"],
        "What the CRNN reads from its steps: the `last`, their `mean`, or a weighting that `attention` learns.",
    ] = "last"
    split: Annotated[
        Literal["official", "stratified", "clips", "random"],
        "`official` (by fold, split before mixing), `stratified` (a fifth of the clips of every class, in whole "
        "recordings, split before mixing), `clips` (a fifth of the clips, at random, split before mixing) or `random` (the "
        "student report's: mix first, split after).",
    ] = "official"
    train_folds: Annotated[
        tuple[int, ...] | None,
        "Folds to train on; None means all that are not named. For `clips`, the folds whose clips are split.",
    ] = None
    valid_folds: Annotated[tuple[int, ...], "Folds to validate on; if none, see `valid_fraction`."] = ()
    test_folds: Annotated[tuple[int, ...], "Folds to test on."] = (10,)
    valid_fraction: Annotated[
        float,
        "Share that validates, of training recordings (`official`), clips (`stratified`, `clips`) or mixtures (`random`).",
    ] = 0.1
    train_share: Annotated[
        float,
        "Train on this share of the training recordings of each class (`official`), to see what more data brings.",
    ] = 1.0
    recipe: Annotated[Recipe, "How clips become mixtures."] = field(default_factory=lambda: Recipe(joint="slots"))
    fresh_pairs: Annotated[
        bool | None,
        "Draw new training pairs every epoch; None means yes for `official` and `stratified`, unless nothing is mixed.",
    ] = None
    sample_rate: Annotated[int, "Samples per second, in Hz: sounds of another rate are resampled."] = 22_050
    n_fft: Annotated[int, "Samples in a frame, in front of CNN10."] = 1024
    hop_length: Annotated[int, "Samples from one frame to the next: 512 is an overlap of 0.5, 256 of 3/4."] = 512
    n_mels: Annotated[int, "Mel bands, in front of CNN10."] = 64
    fmin: Annotated[float, "Lower edge of the first band, in Hz."] = 50.0
    fmax: Annotated[float | None, "Upper edge of the last band, in Hz; None means half the sampling rate."] = None
    mel_scale: Annotated[Literal["slaney", "htk"], "Which formula for mel: `slaney` or `htk`."] = "slaney"
    filter_norm: Annotated[
        Literal["slaney", "none"], "`slaney` gives all mel filters the same area, `none` the same height."
    ] = "slaney"
    front_end: Annotated[
        Literal["log", "pcen"],
        "What makes loud and soft alike, in front of CNN10: decibels (`log`), or per-channel energy normalisation (`pcen`).",
    ] = "log"
    noise_snr: Annotated[float | None, "SNR of noise on the mel power in training, in dB; None adds no noise."] = None
    spec_augment: Annotated[bool, "Mask stripes of the log-mel while training."] = True
    mixup: Annotated[bool, "Mix pairs of training examples, sound and labels."] = False
    pos_weight: Annotated[
        bool,
        "While training, multiply the loss of an output that is there by the number of training mixtures without "
        "it, divided by the number with it.",
    ] = False
    epochs: Annotated[int, "Maximum number of epochs."] = 30
    batch_size: Annotated[int, "Mixtures in a batch."] = 32
    optimizer: Annotated[
        Literal["adam", "amsgrad", "adamw"],
        "`adam`, `amsgrad` (Adam with the greatest second moment so far) or `adamw`.",
    ] = "adamw"
    learning_rate: Annotated[float, "The learning rate; its highest value, if there is a schedule."] = 3e-3
    beta1: Annotated[float, "Adam's first decay rate, the student report's \"momentum\"."] = 0.9
    weight_decay: Annotated[float, "Adam's L2 penalty, or AdamW's decay."] = 1e-2
    decay: Annotated[
        Literal["weights", "all"],
        "What the decay acts on: the `weights` that multiply an input, or `all`, with biases and batch norm.",
    ] = "weights"
    clip_norm: Annotated[
        float | None,
        "Clip longer gradients to this norm; 0 clips none, None means 1 for the CRNN and no clipping for CNN10.",
    ] = None
    schedule: Annotated[
        Literal["constant", "onecycle", "step"],
        "`constant`, `onecycle`, or `step` (halved every ten epochs).",
    ] = "onecycle"
    patience: Annotated[int, "Stop after this many epochs without a better validation mAP; 0 never stops early."] = 0
    seed: Annotated[int, "The seed of everything random, from 0 to 4,294,967,295."] = 0
    skip_bad: Annotated[bool, "Leave out clips that cannot be decoded."] = False
    accelerator: Annotated[
        Literal["auto", "cpu", "cuda", "gpu", "mps"],
        "`auto`, `cpu`, `cuda`, `mps`, or `gpu` for whichever of the last two is there.",
    ] = "auto"
    devices: Annotated[int, "Number of devices on each machine."] = 1
    precision: Annotated[
        Literal["auto", "32-true", "bf16-mixed", "16-mixed"],
        "Precision behind the spectrogram, which is always float32: `32-true`; `bf16-mixed`; `16-mixed` with "
        "loss scaling; or `auto`: on an NVIDIA GPU bf16 where it is native (A100, H100, RTX 30 and later), else "
        "float16 (T4, V100); 32 bit on a CPU and on Apple's GPU.",
    ] = "auto"
    workers: Annotated[int | None, "Processes that load data; None means none on a CPU, some beside a GPU."] = None

    def __post_init__(self) -> None:
        for name in ("train_folds", "valid_folds", "test_folds"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        _check_kinds(self)
        for name in ("sample_rate", "width", "n_fft", "hop_length", "n_mels", "epochs", "devices"):
            _check_range(self, name, at_least=1)
        _check_range(self, "learning_rate", above=0)
        for name in ("weight_decay", "clip_norm", "patience", "workers"):
            _check_range(self, name, at_least=0)
        for name in ("beta1", "valid_fraction"):
            _check_range(self, name, at_least=0, below=1)
        _check_range(self, "train_share", above=0, at_most=1)
        _check_range(self, "seed", at_least=0, at_most=2**32 - 1)
        if self.n_mels > self.n_fft // 2 + 1:
            raise ConfigurationError(
                f"n_mels is {self.n_mels}, but frames of {self.n_fft} samples have only {self.n_fft // 2 + 1} frequencies; "
                "use fewer mel bands, or longer frames (n_fft)"
            )
        if not 0 <= self.fmin < (self.sample_rate / 2 if self.fmax is None else self.fmax) <= self.sample_rate / 2:
            raise ConfigurationError(
                f"fmin is {self.fmin:g} and fmax {self.fmax}, in Hz; fmin must be at least 0 and below fmax, and fmax at most "
                f"half the sampling rate, {self.sample_rate / 2:g}"
            )
        if self.train_share < 1 and self.split != "official":
            raise ConfigurationError("train_share takes whole recordings away, which only the official split can do")
        if self.split == "random" and self.fresh_pairs:
            raise ConfigurationError("the random split mixes first and splits after, so its mixtures stay fixed")
        names_of_columns(self.columns)
        if self.fresh_pairs and self.recipe.n_clips == 1:
            raise ConfigurationError("fresh_pairs draws new pairs, and with n_clips 1 there are none")
        if self.fresh_pairs and not self.recipe.shuffle and self.recipe.joint != "overlay":
            raise ConfigurationError("fresh_pairs needs the shuffle: without it the pairs are the same in every epoch")
        if self.patience and not self.valid_folds and self.valid_fraction == 0:
            raise ConfigurationError(
                "patience stops by the validation mAP, and with a valid_fraction of 0 and no valid_folds nothing validates"
            )
        if self.batch_size < 2:
            raise ConfigurationError(
                f"batch_size must be at least 2, not {self.batch_size}: batch norm needs more than one example"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint or JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    def decisive(self) -> dict[str, Any]:
        """Return the plain values that decide what a run computes: all but where its data is and what runs it."""
        left_out = ("data", "table", "columns", "accelerator", "workers")
        return {k: v for k, v in self.to_dict().items() if k not in left_out}

    def differences(self, stored: dict[str, Any]) -> list[str]:
        """Name the decisive values in which a stored configuration differs, as `width: 2 there, 4 now`.

        Args:
            stored: As `decisive` or `to_dict` returned it; fields added since count as having the value of that time.

        Raises:
            ConfigurationError: If there is a field that this version does not know.
        """
        there = Config.from_dict({**stored, "data": ""}).decisive()
        return [
            f"{name}: {there[name]} there, {value} now"
            for name, value in self.decisive().items()
            if there[name] != value
        ]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """Make a configuration from what `to_dict` returned; fields added since get the value of that time.

        Raises:
            ConfigurationError: If there is a field that this version does not know.
        """
        try:
            values = {k: tuple(v) if isinstance(v, list) else v for k, v in (_BEFORE | values).items()}
            return cls(**{**values, "recipe": Recipe(**with_current_names(values["recipe"]))})
        except (AttributeError, KeyError, TypeError) as error:
            raise ConfigurationError(f"made by another version of the course ({error}); make it again") from error

    @property
    def clips_gradients_at(self) -> float:
        """The norm that longer gradients are clipped to; 0 if they are not clipped."""
        return (1.0 if self.model == "crnn" else 0.0) if self.clip_norm is None else self.clip_norm

    @property
    def mel(self) -> dict[str, Any]:
        """Arguments of `features.MelSpectrogram` in front of CNN10."""
        names = ("sample_rate", "n_fft", "hop_length", "n_mels", "fmin", "fmax", "mel_scale")
        norm = None if self.filter_norm == "none" else self.filter_norm
        return {name: getattr(self, name) for name in names} | {"norm": norm}

    @property
    def draws_fresh_pairs(self) -> bool:
        """Whether new training pairs are drawn every epoch."""
        if self.fresh_pairs is None:
            return self.split in ("official", "stratified") and self.recipe.n_clips > 1
        return self.fresh_pairs


def with_current_names(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain values of a recipe, as an old checkpoint or stored set has them, under their present names."""
    return {name: _RENAMED.get((name, value), value) for name, value in {**_OF_OLD_RECIPES, **recipe}.items()}


def names_of_columns(columns: str) -> dict[str, str]:
    """Take `Config.columns` apart: the course's name of a column → what the table calls it.

    Raises:
        ConfigurationError: If it is not of the form `file=fname,labels=tags`.

    Example:
        >>> names_of_columns("file=fname, labels=tags")
        {'file': 'fname', 'labels': 'tags'}
    """
    names: dict[str, str] = {}
    for part in columns.split(",") if columns.strip() else ():
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not (name and equals and column) or name in names:
            raise ConfigurationError(
                f"columns: {part.strip()!r} is not name=column, or repeats a name; write file=fname,labels=tags"
            )
        names[name] = column
    return names


def _check_kinds(settings: Recipe | Config) -> None:
    """Refuse values of another type than the annotation says, and numbers that are NaN or infinite."""
    for name, kind in typing.get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        alternatives = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        if value is None and types.NoneType in alternatives:
            continue
        kind = alternatives[0]
        if typing.get_origin(kind) is Literal:
            if value not in typing.get_args(kind):
                raise ConfigurationError(f"{name} is one of {', '.join(typing.get_args(kind))}, not {value!r}")
        elif typing.get_origin(kind) is tuple:
            if not isinstance(value, tuple) or not all(_is_number(one, int) for one in value):
                raise ConfigurationError(f"{name} must be whole numbers in a tuple, such as (1, 2), not {value!r}")
        elif kind in (int, float):
            if not _is_number(value, kind):
                says = "a whole number" if kind is int else "a number"
                raise ConfigurationError(f"{name} must be {says}, not {value!r}")
        elif not isinstance(value, kind):
            raise ConfigurationError(f"{name} must be of type {kind.__name__}, not {value!r}")


def _is_number(value: Any, kind: type) -> bool:
    """Say whether a value is a whole number or, if `kind` is float, any finite number."""
    allowed = int if kind is int else (int, float)
    return isinstance(value, allowed) and not isinstance(value, bool) and math.isfinite(value)


def _check_range(
    settings: Recipe | Config,
    name: str,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> None:
    """Refuse a number that is outside of its range; None passes."""
    value = getattr(settings, name)
    if value is None or (at_least <= value <= at_most and above < value < below):
        return
    limits = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    says = " and ".join(f"{words} {limit:,}" for words, limit in limits.items() if math.isfinite(limit))
    raise ConfigurationError(f"{name} must be {says}, not {value}")
