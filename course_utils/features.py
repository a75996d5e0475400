"""From waveform to log-mel, in small steps: frames, window, STFT, power, mel filterbank, decibel.

Everything takes a batch, `[..., T]`, on any device, and lets gradients through. Conventions are those of librosa: centred
frames, periodic Hann window, Slaney's mel scale with filters of equal area.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_utils.audio import SAMPLE_RATE

DECIBEL_FLOOR = 1e-10  # the smallest power that is distinguished from silence: −100 dB


def in_float32(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Let a front end compute in float32, whatever the precision of the network behind it.

    Powers of a sound span more than 16 bits can hold: float16 ends at 65,504, bfloat16 has two or three digits, and a GPU
    cannot transform bfloat16 at all. So autocast is off inside, and the result is float32.

    Args:
        forward: The `forward` of a front end, `(self, waveform, ...)`.

    Returns:
        The same method, in float32.

    Example:
        >>> class Power(nn.Module):
        ...     @in_float32
        ...     def forward(self, waveform):
        ...         return waveform.square()
        ...
        >>> Power()(torch.ones(3, dtype=torch.float64)).dtype
        torch.float32

    Lesson: 07_training_cnn10
    """

    @functools.wraps(forward)
    def forward_in_float32(self: nn.Module, waveform: Tensor, *others: Tensor) -> Any:
        with torch.autocast(waveform.device.type, enabled=False):
            return forward(self, waveform.float(), *others)

    return forward_in_float32


def frame(waveform: Tensor, frame_length: int, hop_length: int) -> Tensor:
    """Cut a waveform into overlapping frames, without a copy.

    Args:
        waveform: Samples, `[..., T]`.
        frame_length: Samples in a frame.
        hop_length: Samples from the start of one frame to the start of the next.

    Returns:
        Frames, `[..., 1 + (T − frame_length) // hop_length, frame_length]`.

    Raises:
        ValueError: If the waveform is shorter than one frame, or the hop is not positive.

    Example:
        >>> frame(torch.arange(6.0), frame_length=4, hop_length=2)
        tensor([[0., 1., 2., 3.],
                [2., 3., 4., 5.]])

    Lesson: 01_stft
    """
    if hop_length < 1:
        raise ValueError(f"hop_length must be at least 1, not {hop_length}")
    if waveform.shape[-1] < frame_length:
        raise ValueError(f"a waveform of {waveform.shape[-1]} samples is shorter than one frame of {frame_length}")
    return waveform.unfold(-1, frame_length, hop_length)


def stft(
    waveform: Tensor,
    n_fft: int = 1024,
    hop_length: int = 512,
    *,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
) -> Tensor:
    """Short-time Fourier transform.

    Args:
        waveform: Samples, `[..., T]`.
        n_fft: Samples in a frame, and length of the transform.
        hop_length: Samples from one frame to the next.
        window: `[n_fft]`; without it a periodic Hann window.
        center: Pad by half a frame at both ends, so that frame `i` is centred on sample `i * hop_length`.
        pad_mode: How to pad: `reflect` or `constant` (zeros).

    Returns:
        Complex spectrum, `[..., 1 + n_fft // 2, frames]`.

    Raises:
        ValueError: If the waveform is too short for this frame and padding.

    Example:
        >>> tone = torch.sin(2 * torch.pi * 1_000 * torch.arange(22_050) / 22_050)
        >>> spectrum = stft(tone, n_fft=1024, hop_length=512)
        >>> spectrum.shape, int(spectrum.abs().mean(dim=-1).argmax()) * 22_050 / 1024
        (torch.Size([513, 44]), 990.52734375)

    Lesson: 01_stft
    """
    if window is None:
        window = torch.hann_window(n_fft, device=waveform.device, dtype=waveform.dtype)
    if center:
        length = waveform.shape[-1]
        if pad_mode == "reflect" and length <= n_fft // 2:
            raise ValueError(
                f"{length} samples are too few to reflect half a frame of {n_fft}; use more, or pad_mode='constant'"
            )
        shape = waveform.shape
        waveform = functional.pad(waveform.reshape(-1, 1, length), (n_fft // 2, n_fft // 2), mode=pad_mode)
        waveform = waveform.reshape(*shape[:-1], -1)
    return torch.fft.rfft(frame(waveform, n_fft, hop_length) * window).transpose(-1, -2)


def istft(spectrum: Tensor, hop_length: int = 512, window: Tensor | None = None, length: int | None = None) -> Tensor:
    """Turn a centred STFT back into a waveform, by windowed overlap-add.

    If `spectrum` is not the STFT of any waveform, because it was modified, the result is the waveform whose STFT is
    nearest to it, over all `n_fft` bins of all frames (D. W. Griffin, J. S. Lim, IEEE Transactions on Acoustics,
    Speech and Signal Processing 32, 1984).

    Args:
        spectrum: Complex, `[..., 1 + n_fft // 2, frames]`.
        hop_length: Samples from one frame to the next, as in `stft`.
        window: `[n_fft]`, as in `stft`; without it a periodic Hann window of an even `n_fft`.
        length: Samples wanted; None means from the middle of the first frame to that of the last.

    Returns:
        Samples, `[..., length]`.

    Raises:
        ValueError: If the window does not fit, a length is negative, or there are samples that no window reaches.

    Example:
        >>> sound = torch.randn(4_096, generator=torch.Generator().manual_seed(0))
        >>> bool((istft(stft(sound, 1024, 512), 512, length=4_096) - sound).abs().max() < 1e-5)
        True

    Lesson: 01_stft
    """
    bins, count = spectrum.shape[-2:]
    if window is None:
        window = torch.hann_window(2 * (bins - 1), device=spectrum.device, dtype=spectrum.real.dtype)
    n_fft = len(window)
    if 1 + n_fft // 2 != bins:
        raise ValueError(f"a window of {n_fft} samples belongs to {1 + n_fft // 2} bins, not to {bins}")
    if hop_length < 1 or (length is not None and length < 0):
        raise ValueError(f"hop_length must be at least 1 and length at least 0, not {hop_length} and {length}")
    length = (count - 1) * hop_length if length is None else length
    frames = torch.fft.irfft(spectrum.transpose(-1, -2), n=n_fft) * window
    total = _overlap_add(frames.reshape(-1, count, n_fft), hop_length)[:, n_fft // 2 :]
    weight = _overlap_add(window.square().expand(1, count, n_fft), hop_length)[:, n_fft // 2 :]
    gaps = (weight[0] <= 1e-6 * weight.max()).nonzero()
    covered = int(gaps[0]) if len(gaps) else weight.shape[-1]
    if length > covered:
        raise ValueError(
            f"the windows cover {covered:,} samples without a gap, not {length:,}: "
            "ask for a smaller length, or take the STFT with a smaller hop_length"
        )
    return (total[:, :length] / weight[:, :length]).reshape(*spectrum.shape[:-2], length)


def _overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """Add up frames `[B, frames, n_fft]`, each `hop_length` after the one before: `[B, T]`."""
    n_fft, length = frames.shape[-1], frames.shape[-1] + (frames.shape[-2] - 1) * hop_length
    return functional.fold(frames.transpose(1, 2), (1, length), (1, n_fft), stride=(1, hop_length))[:, 0, 0]


def phase_vocoder(spectrum: Tensor, rate: float, hop_length: int = 512) -> Tensor:
    """Play a spectrum faster or slower at the same pitch.

    New frames are `rate` old ones apart. A new magnitude is interpolated between its two neighbours. A new phase goes on from
    the last one by what the old phase gained from one neighbour to the next, so that sinusoids stay in one piece.

    Args:
        spectrum: Complex `[..., n_fft // 2 + 1, frames]`, as `stft` returns it.
        rate: Above 1 is faster and shorter.
        hop_length: Samples from one frame to the next.

    Returns:
        Complex `[..., n_fft // 2 + 1, ceil(frames / rate)]`.

    Raises:
        ValueError: If the rate is not a positive number.

    Example:
        >>> spectrum = stft(torch.randn(22_050, generator=torch.Generator().manual_seed(0)), 1024, 512)
        >>> spectrum.shape, phase_vocoder(spectrum, 2.0).shape, phase_vocoder(spectrum, 0.5).shape
        (torch.Size([513, 44]), torch.Size([513, 22]), torch.Size([513, 88]))

    Source: M. Dolson, "The Phase Vocoder: A Tutorial", Computer Music Journal 10 (4), 1986.
    Lesson: 08_crnn
    """
    if not 0 < rate < math.inf:
        raise ValueError(f"a rate must be a positive number, not {rate}")
    places = torch.arange(0, spectrum.shape[-1], rate, device=spectrum.device, dtype=spectrum.real.dtype)
    left = places.long()
    magnitude, phase = (functional.pad(part, (0, 2)) for part in (spectrum.abs(), spectrum.angle()))
    share = places - left
    new_magnitude = share * magnitude[..., left + 1] + (1 - share) * magnitude[..., left]
    # What a steady sinusoid in the middle of each bin gains in one hop; what is left over is between −π and π.
    steady = torch.linspace(0, math.pi * hop_length, spectrum.shape[-2], device=places.device, dtype=places.dtype)[
        :, None
    ]
    over = phase[..., left + 1] - phase[..., left] - steady
    gain = over - 2 * math.pi * torch.round(over / (2 * math.pi)) + steady
    new_phase = torch.cumsum(torch.cat([phase[..., :1], gain[..., :-1]], dim=-1), dim=-1)
    return torch.polar(new_magnitude, new_phase)


def power_spectrogram(
    waveform: Tensor, n_fft: int = 1024, hop_length: int = 512, *, center: bool = True, pad_mode: str = "reflect"
) -> Tensor:
    """Return the squared magnitude of the STFT, `[..., 1 + n_fft // 2, frames]`. Arguments as for `stft`.

    Example:
        >>> power_spectrogram(torch.zeros(2, 22_050), 1024, 512).shape
        torch.Size([2, 513, 44])

    Lesson: 02_spectrogram
    """
    spectrum = stft(waveform, n_fft, hop_length, center=center, pad_mode=pad_mode)
    return spectrum.real.square() + spectrum.imag.square()


def hz_to_mel(frequency: Tensor | float, mel_scale: str = "slaney") -> Tensor:
    """Convert Hz to mel.

    Args:
        frequency: In Hz, any shape.
        mel_scale: `slaney` (linear below 1 kHz, logarithmic above: Slaney, Auditory Toolbox, 1998) or `htk`
            (2595 log10(1 + f / 700): O'Shaughnessy, Speech Communication, 1987).

    Returns:
        In mel, the same shape.

    Example:
        >>> [round(float(hz_to_mel(1_000.0, scale)), 2) for scale in ("slaney", "htk")]
        [15.0, 999.99]

    Lesson: 03_mel_scale
    """
    frequency = torch.as_tensor(frequency, dtype=torch.float64)
    if _checked_scale(mel_scale) == "htk":
        return 2595.0 * torch.log10(1.0 + frequency / 700.0)
    return torch.where(
        frequency < _SLANEY_BREAK,
        frequency / _SLANEY_HZ_PER_MEL,
        _SLANEY_BREAK / _SLANEY_HZ_PER_MEL + torch.log(frequency.clamp(min=1e-9) / _SLANEY_BREAK) / _SLANEY_LOG_STEP,
    )


def mel_to_hz(mel: Tensor | float, mel_scale: str = "slaney") -> Tensor:
    """Convert mel to Hz: the inverse of `hz_to_mel`, with the same arguments.

    Example:
        >>> round(float(mel_to_hz(hz_to_mel(440.0))), 3)
        440.0

    Lesson: 03_mel_scale
    """
    mel = torch.as_tensor(mel, dtype=torch.float64)
    if _checked_scale(mel_scale) == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    knee = _SLANEY_BREAK / _SLANEY_HZ_PER_MEL
    return torch.where(mel < knee, mel * _SLANEY_HZ_PER_MEL, _SLANEY_BREAK * torch.exp((mel - knee) * _SLANEY_LOG_STEP))


def mel_filterbank(
    sample_rate: int = SAMPLE_RATE,
    n_fft: int = 1024,
    n_mels: int = 64,
    *,
    fmin: float = 50.0,
    fmax: float | None = None,
    mel_scale: str = "slaney",
    norm: str | None = "slaney",
) -> Tensor:
    """Triangular filters, equally spaced in mel.

    Args:
        sample_rate: In Hz.
        n_fft: Length of the transform whose bins the filters weigh.
        n_mels: Number of filters.
        fmin: Lower edge of the first filter, in Hz.
        fmax: Upper edge of the last filter, in Hz; None means half the sampling rate.
        mel_scale: `slaney` or `htk`, see `hz_to_mel`.
        norm: `slaney` gives every filter the same area; None gives every filter the peak 1.

    Returns:
        Weights, float32 `[n_mels, 1 + n_fft // 2]`.

    Raises:
        ValueError: If the edges are not in order between 0 and half the sampling rate, or no filter is asked for.

    Warns:
        UserWarning: If filters are narrower than the spacing of the bins, and so stay empty.

    Example:
        >>> weights = mel_filterbank(22_050, 1024, 64)
        >>> weights.shape, bool((weights >= 0).all())
        (torch.Size([64, 513]), True)

    Lesson: 03_mel_scale
    """
    fmax = sample_rate / 2 if fmax is None else fmax
    if not 0 <= fmin < fmax <= sample_rate / 2:
        raise ValueError(f"need 0 <= fmin < fmax <= {sample_rate / 2} Hz; got fmin {fmin}, fmax {fmax}")
    if n_fft < 1 or n_mels < 1:
        raise ValueError(f"n_fft and n_mels must be at least 1, not {n_fft} and {n_mels}")
    if norm not in (None, "slaney"):
        raise ValueError(f"norm is 'slaney' or None, not {norm!r}")
    low, high = hz_to_mel(fmin, mel_scale), hz_to_mel(fmax, mel_scale)
    steps = torch.linspace(0, 1, n_mels + 2, dtype=torch.float64)
    edges = mel_to_hz(low + (high - low) * steps, mel_scale)
    bins = torch.linspace(0, sample_rate / 2, 1 + n_fft // 2, dtype=torch.float64)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    weights = torch.minimum(rising, falling).clamp(min=0)
    if norm == "slaney":
        weights *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    empty = int((weights.sum(dim=1) == 0).sum())
    if empty:
        says = (
            f"{empty} of {n_mels} mel filters hold no frequency bin and stay silent: use fewer than {n_mels} bands, or "
        )
        # Under the module's name: a notebook would be named by a file whose name differs in each kernel.
        warnings.warn_explicit(f"{says}an n_fft above {n_fft}", UserWarning, __name__, 1)
    return weights.float()


def power_to_db(power: Tensor, floor: float = DECIBEL_FLOOR, top_db: float | None = None) -> Tensor:
    """Return 10 log10 of a power, relative to 1.

    Args:
        power: Not negative, any shape.
        floor: Lower powers are raised to it.
        top_db: If given, raise everything to at least this many dB below the loudest value of the whole tensor.

    Returns:
        In dB, the same shape.

    Raises:
        ValueError: If the floor is not positive, or `top_db` is negative or not a number.

    Example:
        >>> power_to_db(torch.tensor([1.0, 10.0, 1000.0, 0.0]))
        tensor([   0.,   10.,   30., -100.])

    Lesson: 02_spectrogram
    """
    if not 0 < floor < math.inf or not (top_db is None or top_db >= 0):
        raise ValueError(f"floor must be above 0, and top_db 0 or more; got {floor} and {top_db}")
    decibel = 10.0 * torch.log10(power.clamp(min=floor))
    return decibel if top_db is None else decibel.clamp(min=float(decibel.max()) - top_db)


class MelSpectrogram(nn.Module):
    """Waveform `[..., T]` to mel power `[..., n_mels, 1 + T // hop_length]`.

    Args:
        sample_rate: In Hz.
        n_fft: Samples in a frame.
        hop_length: Samples from one frame to the next.
        n_mels: Number of bands.
        fmin: Lower edge of the first band, in Hz.
        fmax: Upper edge of the last band, in Hz; None means half the sampling rate.
        mel_scale: `slaney` or `htk`, see `hz_to_mel`.
        norm: `slaney` for filters of equal area, None for filters of equal height.

    Raises:
        ValueError: If the hop is not positive, or for the reasons given in `mel_filterbank`.

    Example:
        >>> MelSpectrogram(n_mels=64)(torch.zeros(2, 22_050)).shape
        torch.Size([2, 64, 44])

    Lesson: 03_mel_scale
    """

    filterbank: Tensor

    def __init__(
        self,
        sample_rate: int = SAMPLE_RATE,
        n_fft: int = 1024,
        hop_length: int = 512,
        n_mels: int = 64,
        *,
        fmin: float = 50.0,
        fmax: float | None = None,
        mel_scale: str = "slaney",
        norm: str | None = "slaney",
    ) -> None:
        super().__init__()
        if hop_length < 1:
            raise ValueError(f"hop_length must be at least 1, not {hop_length}")
        self.n_fft, self.hop_length = n_fft, hop_length
        weights = mel_filterbank(sample_rate, n_fft, n_mels, fmin=fmin, fmax=fmax, mel_scale=mel_scale, norm=norm)
        self.register_buffer("filterbank", weights, persistent=False)

    @in_float32
    def forward(self, waveform: Tensor) -> Tensor:
        """Return the mel power; a waveform shorter than one frame is padded with zeros."""
        missing = self.n_fft - waveform.shape[-1]
        if missing > 0:
            waveform = functional.pad(waveform, (0, missing))
        power = power_spectrogram(waveform, self.n_fft, self.hop_length).transpose(-1, -2)  # as it is in memory
        return (power @ self.filterbank.T).transpose(-1, -2)


class LogMel(nn.Module):
    """The stage in front of CNN10: waveform `[..., T]` to log-mel in dB, `[..., n_mels, frames]`.

    Args:
        noise_snr: If given, noise is added to the mel power at this signal-to-noise ratio in dB, while training.
        **mel: Arguments of `MelSpectrogram`.

    Example:
        >>> LogMel(n_mels=64)(torch.zeros(22_050)).unique()
        tensor([-100.])

    Lesson: 03_mel_scale, 05_dataset_mixing
    """

    def __init__(self, noise_snr: float | None = None, **mel: Any) -> None:
        super().__init__()
        self.mel = MelSpectrogram(**mel)
        self.noise_snr = noise_snr

    @in_float32
    def forward(self, waveform: Tensor) -> Tensor:
        """Return the log-mel, −100 dB at least."""
        power = self.mel(waveform)
        if self.training and self.noise_snr is not None:
            power = add_noise(power, self.noise_snr)
        return power_to_db(power)


class PCEN(nn.Module):
    """Another stage in front of CNN10: per-channel energy normalisation, waveform `[..., T]` to `[..., n_mels, frames]`.

    Each band is divided by its own recent past, a running mean M of its power E, and then compressed:

        (E / (10⁻⁶ + M)^gain + bias)^power − bias^power

    So a steady sound, however loud, fades into the background, and what begins stands out.

    Args:
        noise_snr: As in `LogMel`.
        gain: How far the past is divided out; 1 would do so wholly.
        bias: Values that are small beside it are compressed.
        power: Exponent of the compression; 0.5 is a square root.
        time_constant: How far back the past reaches, in seconds.
        **mel: Arguments of `MelSpectrogram`.

    Attributes:
        share: What a new frame adds to the running mean, between 0 and 1; it follows from `time_constant`.

    Example:
        >>> PCEN(n_mels=64)(torch.zeros(2, 22_050)).shape
        torch.Size([2, 64, 44])

    Source: Y. Wang et al., "Trainable Frontend for Robust and Far-Field Keyword Spotting", ICASSP 2017; the numbers are
    librosa's.
    """

    def __init__(
        self,
        noise_snr: float | None = None,
        *,
        gain: float = 0.98,
        bias: float = 2.0,
        power: float = 0.5,
        time_constant: float = 0.4,
        **mel: Any,
    ) -> None:
        super().__init__()
        self.mel = MelSpectrogram(**mel)
        self.noise_snr, self.gain, self.bias, self.power = noise_snr, gain, bias, power
        frames = time_constant * mel.get("sample_rate", SAMPLE_RATE) / self.mel.hop_length
        self.share = (math.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)

    @in_float32
    def forward(self, waveform: Tensor) -> Tensor:
        """Return the normalised mel power."""
        energy = self.mel(waveform)
        if self.training and self.noise_snr is not None:
            energy = add_noise(energy, self.noise_snr)
        ratio = energy * (1e-6 + self.running_mean(energy)) ** -self.gain
        return (ratio + self.bias) ** self.power - self.bias**self.power

    def running_mean(self, energy: Tensor) -> Tensor:
        """Return the exponentially weighted mean over the past of every band, `[..., n_mels, frames]`.

        It begins at the first frame, and moves `share` of the way towards each further one.
        """
        age = torch.arange(energy.shape[-1], device=energy.device)
        age = (age - age[:, None]).to(energy.dtype)  # [past frame, present frame]
        weights = torch.where(age < 0, 0.0, self.share * (1 - self.share) ** age.clamp(min=0))
        weights[0] = (1 - self.share) ** age[0]
        return energy @ weights


def add_noise(mel: Tensor, snr: float, generator: torch.Generator | None = None) -> Tensor:
    """Add the power of white noise to a mel power spectrogram.

    Its power is equal on average in all bands of a filterbank of equal areas, and exponentially distributed in each
    cell, as that of one frequency bin. (Noise on the waveform is smoother in wide bands, which take the mean of many.)
    It is added as power: noise and sound are uncorrelated, so their powers add on average.

    Args:
        mel: Mel power, `[..., n_mels, frames]`.
        snr: Energy of the sound over energy of the noise, in dB, for each spectrogram by itself.
        generator: Where the randomness comes from; None means torch's own.

    Returns:
        Mel power with noise, the same shape.

    Raises:
        ValueError: If `snr` is infinite or not a number.

    Example:
        >>> mel = torch.ones(64, 100)
        >>> noisy = add_noise(mel, snr=0.0, generator=torch.Generator().manual_seed(0))
        >>> round(float((noisy - mel).sum() / mel.sum()), 3)
        1.0

    Lesson: 05_dataset_mixing
    """
    if not math.isfinite(snr):
        raise ValueError(f"snr must be a number, not {snr}")
    noise = torch.empty_like(mel).exponential_(generator=generator)
    scale = mel.sum(dim=(-2, -1), keepdim=True) / noise.sum(dim=(-2, -1), keepdim=True)
    return mel + noise * scale * 10.0 ** (-snr / 10.0)


class SpecAugment(nn.Module):
    """Mask stripes of time and of frequency, for each example by itself, while training.

    D. S. Park et al., "SpecAugment", Interspeech 2019; the numbers are those of PANNs.

    Args:
        time_stripes: Number of time stripes.
        time_width: Their greatest width, in frames.
        band_stripes: Number of frequency stripes.
        band_width: Their greatest width, in bands.

    Raises:
        ValueError: If one of them is negative.

    Example:
        >>> generator = torch.manual_seed(0)
        >>> masked = SpecAugment().train()(torch.ones(2, 64, 200))
        >>> masked.shape, bool((masked == 1).all())
        (torch.Size([2, 64, 200]), True)

    Lesson: 07_training_cnn10
    """

    def __init__(self, time_stripes: int = 2, time_width: int = 64, band_stripes: int = 2, band_width: int = 8) -> None:
        super().__init__()
        if min(time_stripes, time_width, band_stripes, band_width) < 0:
            raise ValueError("numbers and widths of stripes must be 0 or more")
        self.time, self.band = (time_stripes, time_width), (band_stripes, band_width)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Return `[B, n_mels, frames]` with masked cells at the mean of their example."""
        if not self.training:
            return log_mel
        masked = _stripes(log_mel, *self.time, axis=2) | _stripes(log_mel, *self.band, axis=1)
        return torch.where(masked, log_mel.mean(dim=(1, 2), keepdim=True), log_mel)


def _stripes(log_mel: Tensor, stripes: int, width: int, axis: int) -> Tensor:
    """Return a mask `[B, 1, frames]` or `[B, n_mels, 1]` of randomly placed stripes of random width."""
    size, shape = log_mel.shape[axis], (len(log_mel), stripes, 1)
    widths = torch.rand(shape, device=log_mel.device) * min(width, size)
    starts = torch.rand(shape, device=log_mel.device) * (size - widths)
    places = torch.arange(size, device=log_mel.device)
    masked = ((places >= starts) & (places < starts + widths)).any(dim=1)
    return masked.unsqueeze(2 if axis == 1 else 1)


_SLANEY_BREAK = 1000.0  # Hz; below it the scale is linear
_SLANEY_HZ_PER_MEL = 200.0 / 3.0
_SLANEY_LOG_STEP = math.log(6.4) / 27.0


def _checked_scale(mel_scale: str) -> str:
    if mel_scale not in ("slaney", "htk"):
        raise ValueError(f"mel_scale is 'slaney' or 'htk', not {mel_scale!r}")
    return mel_scale
