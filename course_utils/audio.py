"""Sound files in and out: read anything as float32 mono at one rate, fit its length, write it, listen to it."""

from __future__ import annotations

import base64
import html
import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from course_utils.containers import AudioError as AudioError
from course_utils.containers import opened, shown
from course_utils.files import write_beside

SAMPLE_RATE = 22_050  # Hz, everywhere in the course
PLAYER_BYTES = 90_000  # the largest player
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # Hz
LOUDEST = 1e10  # full scale is 1, or 2.1e9 in float files that hold 32-bit integers
BLOCK = 65_536  # samples that are encoded at once
SYSTEM_ERROR = 2  # libsndfile's code for an error of the operating system


def read(
    path: Path | str, sample_rate: int | None = SAMPLE_RATE, start: float = 0.0, seconds: float | None = None
) -> np.ndarray:
    """Read a sound file, or a part of it, as mono.

    Channels are averaged; another sampling rate is converted with soxr.

    Args:
        path: A file in any format that libsndfile reads: WAV, FLAC, Ogg, MP3 …
        sample_rate: The rate wanted, in Hz; None keeps the rate of the file.
        start: Where to begin, in seconds.
        seconds: How much to read; None reads to the end.

    Returns:
        Samples, float32 `[T]`, in −1 … 1 unless a float file goes beyond.

    Raises:
        AudioError: If the file is missing, empty, not sound or cut off, or holds samples that are not numbers or exceed
            any level that a sound can have (1e10); or if `start` is beyond its end.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(f"{folder}/tone.wav", np.zeros(44_100), sample_rate=44_100)
        ...     waveform = read(f"{folder}/tone.wav")
        ...
        >>> waveform.shape, waveform.dtype
        ((22050,), dtype('float32'))
    """
    path = Path(path)
    if not (0 <= start < np.inf and (seconds is None or 0 <= seconds < np.inf)):
        raise AudioError(f"{shown(path)}: start and seconds are 0 or more; got start {start}, seconds {seconds}")
    with opened(path) as file:
        first = round(start * file.samplerate)
        if first >= file.frames:
            raise AudioError(
                f"{shown(path)}: {file.frames / file.samplerate:.2f} s long, nothing to read from {start:.2f} s on"
            )
        wanted = file.frames - first if seconds is None else min(round(seconds * file.samplerate), file.frames - first)
        try:
            if file.seekable():
                file.seek(first)
            else:  # GSM and the like
                file.read(first)
            samples = file.read(wanted, dtype="float32", always_2d=True)
        except RuntimeError as error:  # soundfile's errors are RuntimeErrors
            raise AudioError(f"{shown(path)}: damaged ({error}); delete it or download it again") from error
        rate = file.samplerate
    if len(samples) < wanted:
        raise AudioError(
            f"{shown(path)}: cut off after {len(samples)} of {wanted} frames; delete it or download it again"
        )
    if fault := _fault_of(samples):
        raise AudioError(f"{shown(path)}: {fault}; delete it or export it again")
    channels = samples.shape[1]
    # The mean over channels, as a product: NumPy's `mean` along a short axis takes longer than everything else here.
    mono = samples @ np.full(channels, 1 / channels, np.float32) if channels > 1 else samples[:, 0]
    if sample_rate is None:
        return mono
    converted = resample(mono, rate, sample_rate)
    if len(converted) == 0 < wanted:
        raise AudioError(
            f"{shown(path)}: 0 frames at {sample_rate:,} Hz ({wanted} at {rate:,} Hz); delete it or download it again"
        )
    return converted


def duration(path: Path | str) -> float:
    """Return the length of a sound file in seconds, from its header.

    Raises:
        AudioError: If the file is missing, empty, not a sound file or cut off.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(f"{folder}/tone.flac", np.zeros(11_025))
        ...     duration(f"{folder}/tone.flac")
        ...
        0.5
    """
    with opened(Path(path)) as file:
        return file.frames / file.samplerate


def resample(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Convert the sampling rate with soxr's high quality.

    Args:
        waveform: Samples, float32 `[T]`.
        from_rate: The rate it has, in Hz.
        to_rate: The rate wanted, in Hz.

    Returns:
        Samples, float32; the input itself when the rates are equal.

    Raises:
        ValueError: If a rate is not positive, or a sample is NaN or infinite.

    Example:
        >>> resample(np.zeros(44_100, np.float32), 44_100, 22_050).shape
        (22050,)
    """
    if from_rate <= 0 or to_rate <= 0:
        raise ValueError(f"sampling rates must be positive numbers of Hz; got {from_rate} and {to_rate}")
    if not np.isfinite(waveform).all():
        raise ValueError("the waveform holds samples that are NaN or infinite")
    if from_rate == to_rate:
        return waveform
    import soxr

    return soxr.resample(waveform, from_rate, to_rate, quality="HQ").astype(np.float32, copy=False)


def fit_length(waveform: np.ndarray, length: int) -> np.ndarray:
    """Cut a waveform `[T]` to `length` samples, or pad it with zeros at the end.

    Raises:
        ValueError: If the length is negative.

    Example:
        >>> fit_length(np.array([1.0, 2.0]), 3)
        array([1., 2., 0.])
    """
    if length < 0:
        raise ValueError(f"a length must be 0 or more samples, not {length}")
    if len(waveform) >= length:
        return waveform[:length]
    return np.pad(waveform, (0, length - len(waveform)))


def write(path: Path | str, waveform: ArrayLike, sample_rate: int = SAMPLE_RATE, subtype: str | None = None) -> None:
    """Write a mono waveform; the format follows from the file's ending. Integer formats clip what is beyond −1 … 1.

    Args:
        path: The file to make or replace.
        waveform: Samples, `[T]`, an array or a tensor.
        sample_rate: In Hz.
        subtype: libsndfile's name for the sample format; None takes the usual one (16 bit for WAV).

    Raises:
        AudioError: If the waveform is not `[T]`, a sample is not a number or beyond 1e10, or the format does not exist
            or does not go with the rate.
        OSError: If the disk is full, or the system refuses to write. The file is as it was before.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(f"{folder}/steps.wav", [0.0, 0.5, 2.0])
        ...     read(f"{folder}/steps.wav").round(2).tolist()
        ...
        [0.0, 0.5, 1.0]
    """
    import soundfile

    path = Path(path)
    try:
        samples = _checked(waveform)
    except AudioError as error:
        raise AudioError(f"{shown(path)}: not written, because {error}") from None
    form = path.suffix[1:].upper()
    if form not in soundfile.available_formats() or form == "RAW":
        raise AudioError(
            f"{shown(path)}: not written, because its ending names no format; choose .wav, .flac, .ogg or .mp3"
        )
    if subtype is not None and subtype not in soundfile.available_subtypes(form):
        kinds = ", ".join(soundfile.available_subtypes(form))
        raise AudioError(f"{shown(path)}: not written, because {form} has no subtype {subtype!r}; it has {kinds}")
    with write_beside(path) as partial:
        try:
            _encode(partial, samples.astype(np.float32), sample_rate, subtype=subtype)
            if len(samples):
                opened(partial).close()  # libsndfile does not report what the system failed to write at the end
        except (
            soundfile.LibsndfileError,
            AssertionError,
            AudioError,
        ) as error:  # soundfile asserts that all is written
            raise _not_written(path, error) from error


def player(waveform: ArrayLike, label: str = "", sample_rate: int = SAMPLE_RATE) -> str:
    """Return an HTML player that contains its sound: MP3, at most 90 kB, the loudest sample at full scale.

    Args:
        waveform: Samples, `[T]`, an array or a tensor.
        label: A line of text above the player.
        sample_rate: In Hz.

    Returns:
        The HTML, which needs no other file.

    Raises:
        AudioError: If the waveform is not `[T]`, is empty, holds samples that are not numbers, has a rate that MP3 does
            not know, or is too long for a player of that size.

    Example:
        >>> player(np.zeros(22_050), "silence")[:42]
        '<div>silence</div><audio controls preload='
    """
    data = base64.b64encode(_mp3(_checked(waveform).astype(np.float64), sample_rate)).decode()
    title = f"<div>{html.escape(label)}</div>" if label else ""
    return f'{title}<audio controls preload="metadata" src="data:audio/mpeg;base64,{data}"></audio>'


def listen(waveform: ArrayLike, label: str = "", sample_rate: int = SAMPLE_RATE) -> None:
    """Show a player in the notebook, as `player` makes it.

    Args:
        waveform: Samples, `[T]`, an array or a tensor.
        label: A line of text above the player.
        sample_rate: In Hz.

    Raises:
        AudioError: If the waveform is not `[T]`, is empty, holds samples that are not numbers, has a rate that MP3 does
            not know, or is too long for a player of that size.

    Example:
        >>> listen(np.zeros(22_050), "silence")  # doctest: +SKIP
    """
    from IPython.display import HTML, display

    display(HTML(player(waveform, label, sample_rate)))


def upload(use: Callable[[Path], object]) -> None:
    """Show a button that takes a sound file from the reader's computer and hands it to a function.

    What the function prints and shows appears below the button. The file is gone when it returns. Jupyter takes files up
    to 10 MB this way, Colab up to 1 MB; larger ones never arrive.

    What a phone records (M4A, AAC) must be saved as WAV, FLAC, Ogg or MP3 first.

    Args:
        use: Called with the path of the file, under the name that it has on the reader's computer.

    Example:
        >>> upload(lambda path: print(f"{duration(path):.1f} s"))  # doctest: +SKIP
    """
    import ipywidgets
    from IPython.display import display
    from IPython.utils.capture import capture_output

    button = ipywidgets.FileUpload(accept=".wav,.flac,.ogg,.mp3", multiple=False, description="Choose a sound file")
    button.layout.width = "16em"
    below = ipywidgets.Output()

    def take(_change: Any) -> None:
        # Shown all at once, at the end: JupyterLab answers every part while the next is drawn, and IPython then draws
        # the unfinished picture in a second thread.
        with capture_output() as captured, tempfile.TemporaryDirectory() as folder:
            for name, content in _uploaded(button.value):
                (path := Path(folder) / Path(name).name).write_bytes(content)
                try:
                    use(path)
                except Exception as error:  # else the button would just do nothing
                    kind = "" if isinstance(error, AudioError) else f"{type(error).__name__}: "
                    print(kind + str(error).replace(str(path), path.name))
        printed = {"output_type": "stream", "name": "stdout", "text": captured.stdout}
        rich = [{"output_type": "display_data", "data": o.data, "metadata": o.metadata or {}} for o in captured.outputs]
        below.outputs = (printed, *rich)

    button.observe(take, "value")
    box = ipywidgets.VBox([button, below])
    view = {"model_id": box.model_id, "version_major": 2, "version_minor": 0}
    bundle = {"text/plain": "Run this cell to see its button.", "application/vnd.jupyter.widget-view+json": view}
    display(bundle, raw=True)


def _uploaded(value: Any) -> list[tuple[str, bytes]]:
    """Return name and content of what an upload button holds, in ipywidgets 7 (a dict) or 8 (a tuple)."""
    if isinstance(value, dict):
        return [(name, file["content"]) for name, file in value.items()]
    return [(file["name"], bytes(file["content"])) for file in value]


def _checked(waveform: ArrayLike) -> np.ndarray:
    """Return a waveform as an array `[T]` of its own type; refuse anything that is not a waveform."""
    try:
        samples = np.asarray(waveform)
    except ValueError as error:  # rows of different lengths
        raise AudioError(f"the waveform is not an array of numbers ({error})") from error
    if samples.dtype.kind not in "fiu":
        raise AudioError(f"a waveform is of real numbers, not of {samples.dtype}")
    if samples.ndim != 1:
        shape = ", ".join(map(str, samples.shape))
        raise AudioError(
            f"a waveform has one dimension, [T], not {samples.ndim}: [{shape}]; pass one channel, or the mean over them"
        )
    if fault := _fault_of(samples):
        raise AudioError(f"{fault}; find out where they come from, or replace them (`np.nan_to_num`, `np.clip`)")
    return samples


def _fault_of(samples: np.ndarray) -> str | None:
    """Say what is wrong with samples of any shape: some are not numbers, or are louder than any sound."""
    peak = max(float(samples.max(initial=0)), -float(samples.min(initial=0)))  # NaN if a sample is
    if peak <= LOUDEST:
        return None
    count = samples.size - int(np.isfinite(samples).sum())
    if count:
        verb = "is not a number" if count == 1 else "are not numbers"
        return f"{count:,} of {samples.size:,} samples {verb} (NaN or infinite)"
    return f"the loudest sample is {peak:.1e}, and full scale is 1"


def _encode(target: Path | io.BytesIO, samples: np.ndarray, sample_rate: int, **options: Any) -> None:
    """Write samples block by block: the Vorbis encoder ends the process where a block is too large for the stack."""
    import soundfile

    with soundfile.SoundFile(target, "w", sample_rate, channels=1, **options) as file:
        for start in range(0, len(samples), BLOCK):
            file.write(samples[start : start + BLOCK])


def _not_written(path: Path, error: Exception) -> Exception:
    """Return the error to raise where libsndfile could not write: about the disk, or about what was asked for."""
    if shutil.disk_usage(path.parent).free < 1 << 20:
        return OSError(f"{shown(path)}: not written, because the disk is full; free some space")
    reason = getattr(error, "error_string", "cut off").rstrip(".")
    if getattr(error, "code", SYSTEM_ERROR) == SYSTEM_ERROR:
        return OSError(
            f"{shown(path)}: not written, though the disk is not full ({reason}); see whether the folder is still there, "
            "and whether a quota limits your files"
        )
    return AudioError(f"{shown(path)}: not written ({reason}); choose another rate, subtype or ending")


def _mp3(samples: np.ndarray, sample_rate: int) -> bytes:
    if len(samples) == 0:
        raise AudioError("an empty sound, [0]: there is nothing to play")
    if sample_rate not in MP3_RATES:
        rates = ", ".join(map(str, MP3_RATES))
        raise AudioError(f"a player needs an MP3 rate ({rates}), not {sample_rate} Hz; use `audio.resample` first")
    peak = np.abs(samples).max()
    scaled = samples / peak * 0.95 if peak > 0 else samples  # in this order, or a very low peak overflows
    for compression in (0.3, 0.6, 0.99):  # libsndfile's scale: 0 best, 1 smallest
        file = io.BytesIO()
        _encode(file, scaled, sample_rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=compression)
        if len(file.getbuffer()) * 4 / 3 < PLAYER_BYTES:
            return file.getvalue()
    raise AudioError(
        f"{len(samples) / sample_rate:.0f} s is too long for a player of {PLAYER_BYTES} bytes: pass a part"
    )
