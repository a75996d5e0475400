"""The networks, found by name: `build("cnn10", outputs=10, width=16)`.

Every network that is built here takes a batch's sounds and their lengths, and returns logits.
"""

from __future__ import annotations

from course_utils.environment import need_torch
from course_utils.features import LogMel, SpecAugment
from course_utils.models.cnn10 import CNN10, cnn10
from course_utils.models.crnn import CRNN, crnn

need_torch()

from torch import Tensor, nn  # noqa: E402

__all__ = ["CNN10", "CRNN", "NAMES", "OnLogMel", "build", "cnn10", "count_parameters", "crnn"]

NAMES = ("cnn10", "crnn")


class OnLogMel(nn.Module):
    """CNN10 with the stages in front of it: log-mel for waveforms, and SpecAugment while training.

    Args:
        network: Log-mel `[B, n_mels, frames]` to logits.
        log_mel: Waveform `[B, T]` to log-mel; skipped when the input is a log-mel already.
        augment: Log-mel to log-mel, in training.
    """

    def __init__(self, network: nn.Module, log_mel: LogMel, augment: nn.Module) -> None:
        super().__init__()
        self.log_mel, self.augment, self.network = log_mel, augment, network

    def forward(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """Return logits `[B, outputs]` of waveforms `[B, T]` or log-mels `[B, n_mels, frames]`."""
        x = self.log_mel(audio) if audio.dim() == 2 else audio
        return self.network(self.augment(x))


def build(
    name: str,
    outputs: int,
    width: int = 64,
    mel: dict | None = None,
    noise_snr: float | None = None,
    spec_augment: bool = False,
    norm: str = "db",
    time_pooling: str = "report",
    readout: str = "last",
) -> nn.Module:
    """Build a network that takes (audio, lengths).

    Args:
        name: `cnn10` or `crnn`.
        outputs: Number of logits.
        width: Channels of CNN10's first block.
        mel: Arguments of `features.MelSpectrogram` in front of CNN10.
        noise_snr: Noise on the mel power while training, in dB, in front of CNN10.
        spec_augment: Mask stripes of the log-mel while training, in front of CNN10.
        norm: The CRNN's normalisation, `db` or `whiten`.
        time_pooling: How the CRNN pools time, `report` or `fine`.
        readout: What the CRNN takes of its steps, `last`, `mean` or `attention`.

    Returns:
        The network.

    Raises:
        ValueError: If there is no network, or no option, of that name.
    """
    mel = mel or {}
    if name == "cnn10":
        augment = SpecAugment() if spec_augment else nn.Identity()
        return OnLogMel(cnn10(outputs, width, int(mel.get("n_mels", 64))), LogMel(noise_snr, **mel), augment)
    if name == "crnn":
        return crnn(outputs, norm, time_pooling, readout)
    raise ValueError(f"no network {name!r}; there are {', '.join(NAMES)}")


def count_parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
