"""The CRNN of the student report: raw waveform, stretched mel spectrogram, three convolutions, a bidirectional LSTM.

After the network of the repository ksanjeevan/crnn-audio-classification, rebuilt from its description.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from course_utils.audio import SAMPLE_RATE
from course_utils.features import in_float32, mel_filterbank, phase_vocoder, power_to_db, stft


class MelspectrogramStretch(nn.Module):
    """Waveform to normalised mel spectrogram; in training some batches are stretched or squeezed in time.

    Args:
        n_fft: Samples in a frame.
        hop_length: Samples from one frame to the next.
        n_mels: Number of bands.
        probability: The probability of stretching a batch.
        spread: The rate is drawn from 1 − spread … 1 + spread.
        norm: `db` takes decibels; `whiten` gives each example mean 0 and standard deviation 1, without a logarithm.
        sample_rate: Of the waveforms, in Hz.

    Lesson: 08_crnn
    """

    filterbank: Tensor

    def __init__(
        self,
        n_fft: int = 2048,
        hop_length: int = 1024,
        n_mels: int = 128,
        *,
        probability: float = 0.4,
        spread: float = 0.4,
        norm: Literal["db", "whiten"] = "db",
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        super().__init__()
        if norm not in ("db", "whiten"):
            raise ValueError(f"norm is 'db' or 'whiten', not {norm!r}")
        self.n_fft, self.hop_length, self.norm = n_fft, hop_length, norm
        self.probability, self.spread = probability, spread
        self.register_buffer("filterbank", mel_filterbank(sample_rate, n_fft, n_mels, fmin=0.0), persistent=False)

    @in_float32
    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map waveforms `[B, T]` with lengths `[B]` to `[B, n_mels, frames]` with their lengths in frames.

        The lengths may stay on the CPU.
        """
        spectrum = stft(waveform, self.n_fft, self.hop_length)
        lengths = lengths // self.hop_length + 1
        if self.training and float(torch.rand(())) < self.probability:
            rate = 1 + self.spread * (2 * float(torch.rand(())) - 1)
            spectrum = phase_vocoder(spectrum, rate, self.hop_length)
            lengths = torch.ceil(lengths / rate).long()
        mel = self.filterbank @ spectrum.abs().square()
        if self.norm == "db":
            return power_to_db(mel), lengths
        valid = torch.arange(mel.shape[-1], device=mel.device) < lengths.to(mel.device, non_blocking=True)[:, None]
        return _whiten(mel, valid[:, None, :]), lengths


class CRNN(nn.Module):
    """Waveforms `[B, T]` with lengths `[B]` to logits `[B, outputs]`.

    Each of three convolutions (3×3, no padding) is followed by batch norm, ELU, max-pooling and dropout. Pooling by 3, 4
    and 4 along frequency leaves 2 of 128 bands, so 2 × 64 features per step go into a bidirectional LSTM with two layers of
    64. Its outputs are summed over time with weights, and go through dropout and batch norm into a linear layer.

    Args:
        outputs: Number of logits: 10 classes, or 55 combinations.
        norm: See `MelspectrogramStretch`.
        time_pooling: `report` pools time like frequency, by 3, 4 and 4: 2 steps for 8 s. `fine` pools it by 1, 2 and 2.
        readout: The weights: `last` takes the last valid step, as in the student report; `mean` all valid steps alike;
            `attention` learns which.
        sample_rate: Of the waveforms, in Hz.

    Raises:
        ValueError: If an option is not one of these.

    Lesson: 08_crnn
    """

    frequency_poolings = (3, 4, 4)
    time_poolings: ClassVar = {"report": (3, 4, 4), "fine": (1, 2, 2)}
    readouts = ("last", "mean", "attention")
    channels = (32, 64, 64)

    def __init__(
        self,
        outputs: int,
        norm: Literal["db", "whiten"] = "db",
        time_pooling: Literal["report", "fine"] = "report",
        readout: Literal["last", "mean", "attention"] = "last",
        *,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        super().__init__()
        if time_pooling not in self.time_poolings or readout not in self.readouts:
            raise ValueError(
                f"time_pooling is one of {', '.join(self.time_poolings)}, readout one of {', '.join(self.readouts)}; "
                f"not {time_pooling!r} and {readout!r}"
            )
        self.readout, self.poolings = readout, self.time_poolings[time_pooling]
        self.spectrogram = MelspectrogramStretch(norm=norm, sample_rate=sample_rate)
        self.convolutions = nn.ModuleList()
        ins_and_outs = zip((1, *self.channels[:-1]), self.channels, strict=True)
        for (inputs, channels), *pooling in zip(ins_and_outs, self.frequency_poolings, self.poolings, strict=True):
            self.convolutions.append(
                nn.Sequential(
                    nn.Conv2d(inputs, channels, 3),
                    nn.BatchNorm2d(channels),
                    nn.ELU(),
                    nn.MaxPool2d(tuple(pooling)),
                    nn.Dropout(0.1),
                )
            )
        self.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # on a CPU, max-pooling is slow in torch's usual order
        self.lstm = nn.LSTM(2 * self.channels[-1], 64, num_layers=2, bidirectional=True, batch_first=True)
        if readout == "attention":
            self.attention = nn.Linear(2 * 64, 1)
        self.dropout = nn.Dropout(0.3)
        self.bn = nn.BatchNorm1d(2 * 64)
        self.fc = nn.Linear(2 * 64, outputs)

    def steps(self, frames: Tensor) -> Tensor:
        """Return how many steps the convolutions leave of a length in frames."""
        for pooling in self.poolings:
            frames = (frames - 2) // pooling
        return frames

    def least_frames(self) -> int:
        """Return the smallest number of frames that leaves one step."""
        frames = 1
        for pooling in reversed(self.poolings):
            frames = frames * pooling + 2
        return frames

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits."""
        hidden, steps = self.hidden(waveform, lengths)
        summary = (self.time_weights(hidden, steps)[:, :, None] * hidden).sum(dim=1)
        return self.fc(self.bn(self.dropout(summary)))

    def hidden(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the LSTM outputs, `[B, steps, 128]`, and the number of valid steps `[B]`.

        Packing needs the lengths on the CPU. If they are already there, as in `mixing.Batch`, nothing waits for a GPU.
        A clip that is too short for the convolutions counts as silent up to their reach.

        Raises:
            ValueError: If there is not one length per waveform.
        """
        if lengths.shape != waveform.shape[:1]:
            raise ValueError(
                f"waveforms are {list(waveform.shape)}, lengths {list(lengths.shape)}; there must be one each"
            )
        reach = (self.least_frames() - 1) * self.spectrogram.hop_length
        # A stretch squeezes at most by 1 + spread; leave enough for something to remain.
        reach = round(reach * (1 + self.spectrogram.spread)) + self.spectrogram.hop_length
        if waveform.shape[-1] < reach:
            waveform = functional.pad(waveform, (0, reach - waveform.shape[-1]))
        mel, frames = self.spectrogram(waveform, lengths.cpu().clamp(min=reach))
        x = mel[:, None]
        for convolution in self.convolutions:
            x = convolution(x)
        steps = self.steps(frames).clamp(max=x.shape[-1])
        sequence = x.flatten(1, 2).transpose(1, 2)  # [B, steps, channels × bands]
        # Packing takes the longest first. Torch would order them by itself, and wait for the device to undo it.
        order = steps.argsort(descending=True)
        there, back, steps_there = (part.to(x.device, non_blocking=True) for part in (order, order.argsort(), steps))
        packed = pack_padded_sequence(sequence[there], steps[order], batch_first=True)
        hidden, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return hidden[back], steps_there

    def time_weights(self, hidden: Tensor, steps: Tensor) -> Tensor:
        """Return how much each step counts, `[B, steps]`; every row adds up to 1, and padding has 0."""
        if self.readout == "last":
            return functional.one_hot(steps - 1, hidden.shape[1]).to(hidden.dtype)
        scores = self.attention(hidden)[:, :, 0] if self.readout == "attention" else hidden.new_zeros(hidden.shape[:2])
        beyond = torch.arange(hidden.shape[1], device=hidden.device) >= steps[:, None]
        return scores.float().masked_fill(beyond, -torch.inf).softmax(dim=1)  # 16 bits would not add up to 1


def crnn(
    classes: int,
    norm: Literal["db", "whiten"] = "db",
    time_pooling: Literal["report", "fine"] = "report",
    readout: Literal["last", "mean", "attention"] = "last",
    *,
    sample_rate: int = SAMPLE_RATE,
) -> CRNN:
    """Build the CRNN: 256,266 parameters with 10 classes, 262,071 with 55; attention has 129 more.

    Example:
        >>> crnn(10)(torch.zeros(2, 176_400), torch.tensor([176_400, 88_200])).shape
        torch.Size([2, 10])
    """
    return CRNN(classes, norm, time_pooling, readout, sample_rate=sample_rate)


def _whiten(mel: Tensor, valid: Tensor) -> Tensor:
    """Set mean and standard deviation over the valid part of each example to 0 and 1; the rest to 0."""
    count = valid.sum(dim=(1, 2), keepdim=True) * mel.shape[1]
    mean = (mel * valid).sum(dim=(1, 2), keepdim=True) / count
    centred = (mel - mean) * valid
    deviation = (centred.square().sum(dim=(1, 2), keepdim=True) / count).sqrt()
    return centred / (deviation + 1e-8)
