"""Sound files in and out: read anything as float32 mono at one rate, fit its length, write it, listen to it."""

from __future__ import annotations

import base64
import html
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from course_utils.files import write_beside

if TYPE_CHECKING:
    import soundfile

SAMPLE_RATE = 22_050  # Hz, everywhere in the course
PLAYER_BYTES = 90_000  # the largest player


class AudioError(ValueError):
    """A sound file that cannot be used; the message names the file, what is wrong and what to do."""


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
        AudioError: If the file is missing, empty, no sound, cut off, or holds samples that are no numbers.
    """
    path = Path(path)
    with _opened(path) as file:
        first = round(start * file.samplerate)
        if first >= file.frames > 0:
            raise AudioError(
                f"{path}: {file.frames / file.samplerate:.2f} s long, nothing to read from {start:.2f} s on"
            )
        if file.frames == 0:
            raise AudioError(f"{path}: 0 frames; delete it or download it again")
        wanted = file.frames - first if seconds is None else min(round(seconds * file.samplerate), file.frames - first)
        try:
            file.seek(first)
            samples = file.read(wanted, dtype="float32", always_2d=True)
        except RuntimeError as error:  # soundfile's errors are RuntimeErrors
            raise AudioError(f"{path}: damaged ({error}); delete it or download it again") from error
        rate = file.samplerate
    if len(samples) < wanted:
        raise AudioError(f"{path}: cut off after {len(samples)} of {wanted} frames; delete it or download it again")
    if not np.isfinite(samples).all():
        count = int((~np.isfinite(samples)).sum())
        raise AudioError(f"{path}: {count} samples are not numbers (NaN or infinite); delete it or export it again")
    channels = samples.shape[1]
    # The mean over channels, as a product: NumPy's `mean` along a short axis takes longer than all else here.
    mono = samples @ np.full(channels, 1 / channels, np.float32) if channels > 1 else samples[:, 0]
    return mono if sample_rate is None else resample(mono, rate, sample_rate)


def duration(path: Path | str) -> float:
    """Return the length of a sound file in seconds, from its header.

    Raises:
        AudioError: If the file is missing or no sound.
    """
    with _opened(Path(path)) as file:
        return file.frames / file.samplerate


def resample(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Convert the sampling rate with soxr's high quality.

    Args:
        waveform: Samples, float32 `[T]`.
        from_rate: The rate it has, in Hz.
        to_rate: The rate wanted, in Hz.

    Returns:
        Samples, float32; the input itself when the rates are equal.
    """
    if from_rate == to_rate:
        return waveform
    import soxr

    return soxr.resample(waveform, from_rate, to_rate, quality="HQ").astype(np.float32, copy=False)


def fit_length(waveform: np.ndarray, length: int) -> np.ndarray:
    """Cut a waveform `[T]` to `length` samples, or fill it up with zeros at the end."""
    if len(waveform) >= length:
        return waveform[:length]
    return np.pad(waveform, (0, length - len(waveform)))


def write(path: Path | str, waveform: ArrayLike, sample_rate: int = SAMPLE_RATE, subtype: str | None = None) -> None:
    """Write a mono waveform; the format follows from the file's ending. Beyond −1 … 1 integers are clipped.

    Args:
        path: The file to make or replace.
        waveform: Samples, `[T]`, an array or a tensor.
        sample_rate: In Hz.
        subtype: libsndfile's name of the sample format; None takes the usual one, 16 bit for WAV.

    Raises:
        AudioError: If a sample is not a number.
    """
    import soundfile

    samples = np.asarray(waveform, np.float32)
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: not written, because some samples are not numbers (NaN or infinite)")
    with write_beside(Path(path)) as partial:
        soundfile.write(partial, samples, sample_rate, subtype=subtype)


def player(waveform: ArrayLike, label: str = "", sample_rate: int = SAMPLE_RATE) -> str:
    """Return a player as HTML that holds its sound: the loudest sample at full scale, MP3, at most 90 kB.

    Args:
        waveform: Samples, `[T]`, an array or a tensor.
        label: A line of text above the player.
        sample_rate: In Hz.

    Returns:
        The HTML, without anything to load.

    Raises:
        ValueError: If the sound is too long for a player of that size; pass a part of it.
    """
    data = base64.b64encode(_mp3(np.asarray(waveform, np.float32), sample_rate)).decode()
    title = f"<div>{html.escape(label)}</div>" if label else ""
    return f'{title}<audio controls preload="metadata" src="data:audio/mpeg;base64,{data}"></audio>'


def listen(waveform: ArrayLike, label: str = "", sample_rate: int = SAMPLE_RATE) -> None:
    """Show a player in the notebook, as `player` makes it.

    Args:
        waveform: Samples, `[T]`, an array or a tensor.
        label: A line of text above the player.
        sample_rate: In Hz.

    Raises:
        ValueError: If the sound is too long for a player of that size; pass a part of it.
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


def _mp3(samples: np.ndarray, sample_rate: int) -> bytes:
    import soundfile

    peak = float(np.abs(samples).max(initial=0.0))
    scaled = samples * (0.95 / peak) if peak > 0 else samples
    for compression in (0.3, 0.6, 0.99):  # libsndfile's scale: 0 best, 1 smallest
        file = io.BytesIO()
        soundfile.write(
            file, scaled, sample_rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=compression
        )
        if len(file.getbuffer()) * 4 / 3 < PLAYER_BYTES:
            return file.getvalue()
    raise ValueError(
        f"{len(samples) / sample_rate:.0f} s is too long for a player of {PLAYER_BYTES} bytes: pass a part"
    )


def _opened(path: Path) -> soundfile.SoundFile:
    import soundfile

    if not path.is_file():
        raise AudioError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: 0 bytes; delete it or download it again")
    try:
        return soundfile.SoundFile(path)
    except (RuntimeError, TypeError) as error:
        is_foreign = path.suffix.lower() in (".m4a", ".aac", ".mp4", ".wma", ".amr", ".3gp")
        remedy = "save it as WAV, FLAC, Ogg or MP3 first" if is_foreign else "delete it or download it again"
        raise AudioError(f"{path}: not a sound file that can be read ({error}); {remedy}") from error
