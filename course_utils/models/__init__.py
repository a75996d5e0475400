"""The networks, found by name: `build(config, taxonomy)` builds the one that `config.model` names.

Every network that is built here takes a batch's sounds and their lengths, and returns logits. `register` adds one of your
own.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from course_utils.configuration import Config, ConfigurationError
from course_utils.features import PCEN, LogMel, SpecAugment
from course_utils.models.cnn10 import CNN10, cnn10
from course_utils.models.crnn import CRNN, crnn
from course_utils.taxonomy import Taxonomy

__all__ = ["CNN10", "CRNN", "OnLogMel", "build", "cnn10", "count_parameters", "crnn", "names", "register"]

Builder = Callable[[Config, int], nn.Module]


class OnLogMel(nn.Module):
    """A network on log-mels with the stages in front of it: log-mel for waveforms, and an augmentation while training.

    Args:
        network: Log-mel `[B, n_mels, frames]` to logits.
        log_mel: Waveform `[B, T]` to log-mel; skipped when the input is a log-mel already.
        augment: Log-mel to log-mel, in training.
    """

    def __init__(self, network: nn.Module, log_mel: nn.Module, augment: nn.Module) -> None:
        super().__init__()
        self.log_mel, self.augment, self.network = log_mel, augment, network

    def forward(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """Return logits `[B, outputs]` of waveforms `[B, T]` or log-mels `[B, n_mels, frames]`."""
        x = self.log_mel(audio) if audio.dim() == 2 else audio
        return self.network(self.augment(x))


def _build_cnn10(config: Config, outputs: int) -> nn.Module:
    augment = SpecAugment() if config.spec_augment else nn.Identity()
    front_end = {"log": LogMel, "pcen": PCEN}[config.front_end]
    return OnLogMel(cnn10(outputs, config.width, config.n_mels), front_end(config.noise_snr, **config.mel), augment)


def _build_crnn(config: Config, outputs: int) -> nn.Module:
    return crnn(outputs, config.norm, config.time_pooling, config.readout, sample_rate=config.sample_rate)


_builders: dict[str, Builder] = {"cnn10": _build_cnn10, "crnn": _build_crnn}


def register(name: str, builder: Builder) -> None:
    """Make a network known by a name, for `Config(model=name)`, the command line, and checkpoints.

    A process that loads a checkpoint of it has to register it again, under the same name.

    Args:
        name: Its name; a second registration under one name replaces the first.
        builder: Called with the configuration and the number of logits; returns a network that takes sounds `[B, T]` and
            lengths `[B]`, and returns logits `[B, outputs]`.

    Raises:
        ValueError: If the name is empty, or one of the course's own.

    Example:
        A small CNN10 whose front end, like the course's, is what the configuration names:

        >>> def small(config, outputs):
        ...     front_end = {"log": LogMel, "pcen": PCEN}[config.front_end](config.noise_snr, **config.mel)
        ...     return OnLogMel(cnn10(outputs, width=2, n_mels=config.n_mels), front_end, nn.Identity())
        >>> register("small", small)
        >>> Config("mini", model="small").model
        'small'
    """
    if name in ("", "cnn10", "crnn"):
        raise ValueError(f"a network of your own needs a name of its own, not {name!r}")
    _builders[name] = builder


def names() -> tuple[str, ...]:
    """Return the names of all networks that can be built.

    Example:
        >>> names()[:2]
        ('cnn10', 'crnn')
    """
    return tuple(_builders)


def builder_of(name: str) -> Builder:
    """Return what builds a network.

    Raises:
        ConfigurationError: If no network of that name is registered.

    Example:
        >>> network = builder_of("cnn10")(Config("mini", width=8), 10)
    """
    if name not in _builders:
        raise ConfigurationError(
            f"no network {name!r} here, only {', '.join(_builders)}; import the module that registers it first "
            "(models.register), or name another"
        )
    return _builders[name]


def build(config: Config, taxonomy: Taxonomy) -> nn.Module:
    """Build the network of a run, with fresh weights.

    Args:
        config: The run; `config.model` names the network, and `config.head` says what its logits are.
        taxonomy: The classes.

    Returns:
        A network that takes sounds `[B, T]` and lengths `[B]`, and returns logits `[B, outputs]`.

    Raises:
        ConfigurationError: If no network of that name is registered.

    Example:
        >>> count_parameters(build(Config("mini", width=64), Taxonomy()))
        4954058
    """
    outputs = taxonomy.n_classes if config.head == "labels" else taxonomy.n_combinations
    return builder_of(config.model)(config, outputs)


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters.

    Example:
        >>> count_parameters(nn.Linear(4, 2))
        10
    """
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
