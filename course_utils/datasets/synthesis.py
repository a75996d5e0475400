"""The sounds of `mini`: one long signal per recording, from a physical model of its class.

A source is put into a room, before a background, in front of a microphone. The order of this file: what describes a
recording → small tools of synthesis → one function per class → a whole recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.random import Generator

from course_utils.audio import SAMPLE_RATE


@dataclass(frozen=True)
class Slice:
    """One clip of a recording: where it is, and how its file is stored."""

    start: float  # s
    end: float  # s
    occurrence: int
    number: int
    rate: int = SAMPLE_RATE  # Hz
    channels: int = 1
    container: str = "WAV"
    subtype: str = "PCM_16"


@dataclass(frozen=True)
class Recording:
    """One long signal of one class in one fold, and the slices that are cut from it."""

    fs_id: int
    class_id: int
    fold: int
    salience: int
    seconds: float
    seed: tuple[int, int]  # that of the data set, and the recording's own number
    slices: tuple[Slice, ...]

    def name(self, part: Slice) -> str:
        """Return the file name of one of the slices."""
        return f"{self.fs_id}-{self.class_id}-{part.occurrence}-{part.number}.wav"


# --- Tools of synthesis ----------------------------------------------------------------------------------------------
# Everywhere: `timbre` draws what stays through a recording (which dog, which engine), `rng` what changes from one
# moment to the next; so no number of draws from `timbre` may depend on the length. Signals are float64 [T] at
# SAMPLE_RATE, at an RMS of about 1 until they are mixed.


def _length(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def _time(n: int) -> np.ndarray:
    return np.arange(n) / SAMPLE_RATE


def _level(x: np.ndarray) -> np.ndarray:
    """Bring `x` to an RMS of 1."""
    return x / (np.sqrt(np.mean(x**2)) + 1e-12)


def _db(value: float) -> float:
    return 10 ** (value / 20)


def _curve(rng: Generator, n: int, rate: float) -> np.ndarray:
    """Return a random curve [n] of mean 0 and standard deviation 1 that turns about `rate` times a second."""
    knots = rng.standard_normal(int(n / SAMPLE_RATE * rate) + 3)
    return np.interp(np.arange(n) * rate / SAMPLE_RATE + rng.random(), np.arange(len(knots)), knots)


def _equalise(x: np.ndarray, points: Sequence[tuple[float, float]]) -> np.ndarray:
    """Filter `x` with a magnitude given by (Hz, dB) points, straight lines over log frequency between them."""
    size = scipy.fft.next_fast_len(len(x) + SAMPLE_RATE // 10, real=True)
    hz, db = np.array(sorted(points)).T
    octaves = np.log2(np.maximum(scipy.fft.rfftfreq(size, 1 / SAMPLE_RATE), 15.0))
    return scipy.fft.irfft(scipy.fft.rfft(x, size) * 10 ** (np.interp(octaves, np.log2(hz), db) / 20), size)[: len(x)]


def _noise(rng: Generator, n: int, points: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return Gaussian noise [n] whose power density follows (Hz, dB) points."""
    return _level(_equalise(rng.standard_normal(n), points))


def _tone(hz: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """Return a harmonic tone of instantaneous frequency `hz` [n], from a table with one period (no aliasing)."""
    amplitudes = amplitudes[: max(1, int(0.46 * SAMPLE_RATE / hz.max()))]
    table = scipy.fft.irfft(np.concatenate([[0.0], amplitudes]), 4096)
    table = np.append(_level(table), 0.0)
    table[-1] = table[0]
    position = (np.cumsum(hz) / SAMPLE_RATE % 1.0) * 4096
    index = position.astype(np.int64)
    return table[index] + (position - index) * (table[index + 1] - table[index])


def _harmonics(slope: float, count: int = 80) -> np.ndarray:
    """Return amplitudes of `count` harmonics that fall as k^−slope."""
    return np.arange(1.0, count + 1) ** -slope


def _train(
    rng: Generator, n: int, rate: float | np.ndarray, jitter: float, *, pattern: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Return single-sample pulses [n], `rate` per second; heights repeat `pattern`, times and heights jitter."""
    turns = np.cumsum(np.broadcast_to(rate, n)) / SAMPLE_RATE
    at = np.searchsorted(turns, np.arange(int(turns[-1]) + 1) + rng.random())
    at = np.round(at + jitter * rng.standard_normal(len(at)) * SAMPLE_RATE / np.mean(rate)).astype(int)
    heights = np.resize(pattern, len(at)) * np.exp(jitter * 2 * rng.standard_normal(len(at)))
    inside = (at >= 0) & (at < n)
    train = np.zeros(n)
    np.add.at(train, at[inside], heights[inside])
    return train


def _ring(train: np.ndarray, modes: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """Let every pulse of `train` excite resonances, each (Hz, decay time in s, amplitude)."""
    t = _time(_length(5 * max(decay for _, decay, _ in modes)))
    kernel = sum(a * np.exp(-t / decay) * np.sin(2 * np.pi * hz * t) for hz, decay, a in modes)
    return scipy.signal.oaconvolve(train, kernel)[: len(train)]


def _bursts(train: np.ndarray, decay: float) -> np.ndarray:
    """Turn pulses into an envelope that jumps at each pulse and decays within `decay` seconds."""
    return scipy.signal.lfilter([1.0], [1.0, -np.exp(-1 / (decay * SAMPLE_RATE))], train)


def _edges(n: int, attack: float, release: float) -> np.ndarray:
    """Return an envelope [n] that rises in `attack` and falls in `release` seconds, as cosine ramps."""
    t = _time(n)
    rise = np.clip(t / attack, 0, 1)
    fall = np.clip((t[-1] - t) / release, 0, 1)
    return (0.5 - 0.5 * np.cos(np.pi * rise)) * (0.5 - 0.5 * np.cos(np.pi * fall))


def _throat(source: np.ndarray, formants: np.ndarray, gains: Sequence[float], width: float = 0.1) -> np.ndarray:
    """Send a source through formants that move.

    Args:
        source: Glottal pulses and breath, [T].
        formants: Frequencies in Hz, [K, T].
        gains: K gains in dB.
        width: Bandwidth over frequency.

    Returns:
        The voice, [T], at an RMS of 1.
    """
    pad = np.pad(source, (0, max(0, 512 - len(source))))
    hz, t, spectrum = scipy.signal.stft(pad, SAMPLE_RATE, nperseg=512, noverlap=256)
    at = np.minimum((t * SAMPLE_RATE).astype(int), formants.shape[1] - 1)
    response = np.full(spectrum.shape, 0.02)
    for track, gain in zip(formants, gains, strict=True):
        centre = track[at]
        response += _db(gain) / np.sqrt(1 + ((hz[:, None] - centre) / (width * centre / 2 + 40)) ** 2)
    return _level(scipy.signal.istft(spectrum * response, SAMPLE_RATE, nperseg=512, noverlap=256)[1][: len(source)])


def _room(rng: Generator, reverberation: float, wet: float) -> np.ndarray:
    """Return an impulse response: the direct sound, early reflections, and a tail whose treble decays first.

    Args:
        rng: Source of randomness.
        reverberation: Time to fall by 60 dB, in s.
        wet: Energy of the tail over that of the direct sound, in dB.
    """
    n = _length(reverberation)
    t = _time(n)
    tail = np.zeros(n)
    for low, high, factor in ((60, 700, 1.0), (700, 2500, 0.75), (2500, 9000, 0.45)):
        band = scipy.signal.sosfilt(
            scipy.signal.butter(1, (low, high), "bandpass", fs=SAMPLE_RATE, output="sos"), rng.standard_normal(n)
        )
        tail += band * np.exp(-6.9 * t / (reverberation * factor))
    tail *= np.clip(t / 0.012, 0, 1)
    response = tail * _db(wet) / np.sqrt(np.sum(tail**2))
    response[0] += 1.0
    for delay in rng.uniform(0.002, 0.07, rng.integers(2, 7)):
        # Walls and ground are rough: a reflection is smeared over a millisecond or two, or it would comb the spectrum.
        smear = rng.standard_normal(60) * np.exp(-np.arange(60) / 15)
        gain = rng.uniform(0.1, 0.45) * np.exp(-delay / 0.05) / np.sqrt(np.sum(smear**2))
        response[_length(delay) : _length(delay) + 60] += gain * smear
    return response


# --- One function per class --------------------------------------------------------------------------------------------
# Each takes `timbre`, `rng` and a length in seconds, and returns the dry source, [T].


def _air_conditioner(timbre: Generator, rng: Generator, seconds: float) -> np.ndarray:
    """Air rushing past the blades (steep broadband noise), blade-pass tones, and the hum of the compressor."""
    n = _length(seconds)
    tilt = timbre.uniform(-8.0, -3.0)  # dB per octave
    points = [(15, -12.0), (50, timbre.uniform(0, 4))]
    points += [(hz, tilt * np.log2(hz / 60) + timbre.normal(0, 3.5)) for hz in (100, 200, 400, 800, 1600, 3200, 6400)]
    air = _noise(rng, n, [*points, (10_000, tilt * 8.5)])
    air *= 1 + 0.1 * _curve(rng, n, 2.5)  # slow flutter

    mains = timbre.choice([50.0, 60.0])
    lines = np.zeros(n)
    drift = 1 + 0.0006 * _curve(rng, n, 0.5)
    hum = _harmonics(timbre.uniform(0.8, 1.6), 24) * np.exp(timbre.normal(0, 0.7, 24))
    lines += timbre.uniform(0.15, 0.7) * _tone(2 * mains * drift, hum)
    blades = timbre.uniform(70, 260) * (1 + 0.002 * _curve(rng, n, 0.7))
    lines += timbre.uniform(0.1, 0.5) * _tone(blades, _harmonics(1.3, 10) * np.exp(timbre.normal(0, 0.5, 10)))
    for _ in range(timbre.integers(0, 4)):  # bearings and belts: faint high lines
        lines += _db(timbre.uniform(-32, -16)) * _tone(timbre.uniform(400, 4500) * drift, _harmonics(2.0, 3))
    out = air + lines
    if timbre.random() < 0.3:  # a loose panel rattles with every turn
        pulses = _train(rng, n, mains / timbre.integers(2, 6), 0.02, pattern=[1.0, 0.6, 0.8])
        out += _db(-16) * _level(_ring(pulses, [(hz, 0.01, 1.0) for hz in timbre.uniform(700, 5000, 4)]))
    return out


def _car_horn(timbre: Generator, rng: Generator, seconds: float) -> np.ndarray:
    """One or two reed-like diaphragms with many harmonics, in a flared horn that favours 1.5 to 4 kHz."""
    n = _length(seconds)
    lowest = timbre.uniform(290, 440) if timbre.random() < 0.8 else timbre.uniform(150, 260)  # car, lorry
    count = timbre.choice([1, 2, 2, 2])
    pitches = lowest * np.array([1.0, timbre.choice([1.19, 1.25, 1.26, 1.335])])[:count]
    flare: list[tuple[float, float]] = [
        (100, -12.0),
        (300, -3.0),
        (700, timbre.uniform(-4, 2)),
        (6000, -10.0),
        (10_000, -22.0),
    ]
    flare += [(timbre.uniform(1500, 2200), timbre.uniform(2, 9)), (timbre.uniform(2600, 3800), timbre.uniform(0, 9))]
    colours = [np.exp(timbre.normal(0, 0.6, 60)) * _harmonics(timbre.uniform(0.35, 0.8), 60) for _ in pitches]
    beep = timbre.uniform(0.12, 0.5)

    gate = np.zeros(n)
    now = 0.01
    while now < seconds - 0.05:  # someone leans on the horn, or taps it
        length = seconds if seconds < 1.2 or rng.random() < 0.3 else rng.choice([beep, beep, rng.uniform(0.5, 2.5)])
        first, last = _length(now), min(n, _length(now + length))
        if last - first > 400:
            gate[first:last] = np.maximum(gate[first:last], _edges(last - first, 0.015, 0.03))
        now += length + rng.uniform(0.08, 0.35 if rng.random() < 0.6 else 1.2)
    # The pitch settles while the diaphragm gets up to speed.
    bend = 1 - 0.03 * (1 - gate) + 0.0015 * _curve(rng, n, 30)
    out = sum(_tone(pitch * bend, colour) for pitch, colour in zip(pitches, colours, strict=True))
    out = out + 0.06 * rng.standard_normal(n)
    return _equalise(out * gate, flare)


def _voice(timbre: Generator, rng: Generator, n: int, pitch: float, *, busy: float) -> np.ndarray:
    """One child: syllables with a pitch contour, moving formants, breath; now and then a shout or a laugh."""
    size = timbre.uniform(0.9, 1.15)
    gate, effort, glide = np.zeros(n), np.zeros(n), np.zeros(n)
    now = rng.uniform(0, 1.0)
    while now < n / SAMPLE_RATE:
        style = rng.choice(3, p=[0.6, 0.28, 0.12])  # talk, shout, laugh
        for _ in range(rng.integers(1, 3) if style == 1 else rng.integers(2, 7)):
            length = (rng.uniform(0.12, 0.26), rng.uniform(0.3, 0.8), rng.uniform(0.07, 0.12))[style]
            first, last = _length(now), min(n, _length(now + length))
            if last - first > 600:
                part = slice(first, last)
                t = np.linspace(0, 1, last - first)
                height = (0.0, 0.45, 0.25)[style] * rng.uniform(0.6, 1.3)
                gate[part] = _edges(last - first, 0.03, 0.05) * rng.uniform(0.4, 1.0) * (1.0, 1.8, 0.8)[style]
                effort[part] = height
                glide[part] = height * np.sin(np.pi * t ** rng.uniform(0.5, 1.3)) + rng.normal(0, 0.12) * (t - 0.5)
            now += length * (1.25, 1.05, 1.6)[style]
        now += rng.exponential(1.2 / busy)
    hz = pitch * 2 ** (glide + 0.13 * _curve(rng, n, 5) + 0.012 * _curve(rng, n, 60))
    source = _tone(hz, _harmonics(1.0)) + 0.2 * rng.standard_normal(n)
    mouth = np.clip(0.5 + 0.45 * _curve(rng, n, 5) + effort, 0, 1.2)  # how far open
    tongue = np.clip(0.5 + 0.4 * _curve(rng, n, 4), 0, 1)
    formants = size * np.stack([420 + 700 * mouth, 1150 + 1700 * tongue, 3500 + 300 * tongue, 4800 + 200 * mouth])
    hiss = np.maximum(0, _curve(rng, n, 5) - 1.0) * (gate == 0)  # s and sh between the vowels
    fricative = _equalise(rng.standard_normal(n), [(1500, -40.0), (4000, -6.0), (7000, 0.0), (10_000, -10.0)])
    return _throat(source * gate, formants, (0, -4, -9, -14)) + 0.1 * hiss * fricative


def _children_playing(timbre: Generator, rng: Generator, seconds: float) -> np.ndarray:
    """A few near voices over the murmur of many far ones, blurred by the playground."""
    n = _length(seconds)
    near = np.zeros(n)
    for k in range(timbre.integers(2, 6)):
        voice = _voice(timbre, rng, n, timbre.uniform(260, 480), busy=timbre.uniform(0.8, 2.5))
        near += voice * _db(-timbre.uniform(2, 5) * k)
    murmur = np.zeros(n)
    for _ in range(2):
        far = _voice(timbre, rng, n, timbre.uniform(280, 520), busy=5.0)
        murmur += far + np.roll(far, rng.integers(n))
    murmur = scipy.signal.oaconvolve(murmur, _room(timbre, 0.9, 8.0))[:n]
    murmur = _equalise(murmur, [(300, 0.0), (1500, 0.0), (4000, -6.0), (9000, -18.0)])
    out = _level(near) + _db(timbre.uniform(-14, -2)) * _level(murmur)
    return out + _db(timbre.uniform(-18, -3)) * _noise(rng, n, [(40, 6.0), (300, 0.0), (1500, -6.0), (8000, -22.0)])


def _dog_bark(timbre: Generator, rng: Generator, seconds: float) -> np.ndarray:
    """Barks in ones, twos and threes: glottal pulses whose pitch jumps up and falls, jaws that open and close."""
    n = _length(seconds)
    size = timbre.uniform(0, 1)  # 0 a terrier, 1 a mastiff
    pitch = 480 * 0.38**size * timbre.uniform(0.85, 1.2)
    tract = 1.2 * 0.6**size
    length = timbre.uniform(0.10, 0.16) + 0.1 * size
    rough = timbre.uniform(0.3, 1.0)
    group = timbre.integers(1, 4)
    pause = timbre.uniform(0.4, 1.1)
    out = np.zeros(n)
    now = rng.uniform(0.01, 0.05)
    while now < seconds - 0.08:
        for _ in range(max(1, int(group + rng.integers(-1, 2)))):
            count = _length(length * rng.uniform(0.8, 1.25))
            t = np.linspace(0, 1, count)
            arc = np.sin(np.pi * t**0.55)
            bend = 0.05 * rng.standard_normal() + 0.02 * rough * _curve(rng, count, 90)
            hz = pitch * (0.75 + 0.5 * arc) * 2**bend
            loud = np.clip(t / 0.08, 0, 1) * np.exp(-((np.maximum(t - 0.2, 0) / 0.36) ** 2)) * (1 - t**6)
            source = _tone(hz, _harmonics(0.7)) + 0.5 * _tone(hz / 2, _harmonics(0.9)) * rough * 0.5
            source += (0.25 + 0.6 * rough * t) * rng.standard_normal(count)
            formants = tract * np.stack([480 + 420 * arc, 1150 + 500 * arc, 2500 + 300 * arc, 3900 + 200 * arc])
            bark = _throat(source * loud, formants, (0, -4, -15, -24), 0.3) * rng.uniform(0.7, 1.0)
            first = _length(now)
            last = min(n, first + count)
            if last > first:
                out[first:last] += bark[: last - first]
            now += length * rng.uniform(1.3, 2.2)
        now += pause * rng.uniform(0.5, 1.6)
    return _equalise(out, [(100, -20.0), (250, 0.0), (2000, 0.0), (6000, -8.0), (10_000, -16.0)])


def _drilling(timbre: Generator, rng: Generator, seconds: float) -> np.ndarray:
    """A motor whine that starts, sags under load and recovers, and the grinding of the bit, hammering or not."""
    n = _length(seconds)
    load = np.clip(0.65 + 0.35 * _curve(rng, n, timbre.uniform(0.4, 1.5)), 0, 1.1)
    on = np.ones(n)
    now = rng.uniform(0.3, 2.5) if timbre.random() < 0.6 and seconds > 3 else seconds
    while now < seconds - 0.6:  # lift the bit, set it down again
        first, last = _length(now), min(n, _length(now + rng.uniform(0.3, 0.9)))
        on[first:last] = 0.0
        now += rng.uniform(1.5, 4.0)
    glide = scipy.signal.lfilter([1 / 3000], [1, -(1 - 1 / 3000)], on - 1) + 1  # the rotor's inertia, some 0.15 s
    if rng.random() < 0.4:
        glide *= 1 - 0.7 * np.exp(-_time(n) / rng.uniform(0.1, 0.3))
    hz = timbre.uniform(180, 750) * np.maximum(glide * (1 - 0.18 * load), 0.05) * (1 + 0.004 * _curve(rng, n, 25))
    whine = _tone(hz, _harmonics(timbre.uniform(0.3, 0.8), 40) * np.exp(timbre.normal(0, 0.8, 40)))
    gear = _tone(hz * timbre.uniform(2.3, 5.7), _harmonics(1.0, 8))
    points = [(40, -14.0), (150, timbre.uniform(-4, 4)), (500, timbre.uniform(-3, 3)), (1200, timbre.uniform(-2, 4))]
    points += [(2500, timbre.uniform(-4, 4)), (4500, timbre.uniform(-6, 3)), (7500, timbre.uniform(-14, -4))]
    grind = _noise(rng, n, [*points, (10_500, timbre.uniform(-26, -12))])
    if timbre.random() < 0.45:  # hammer drill
        pulses = _train(rng, n, timbre.uniform(32, 60) * np.maximum(glide, 0.05), 0.04, pattern=[1.0, 0.8])
        knocks = _ring(pulses, [(hz0, 0.004, 1.0) for hz0 in timbre.uniform(400, 5500, 7)])
        grind = _level(grind * (0.25 + _bursts(pulses, 0.008))) + timbre.uniform(0.2, 0.7) * _level(knocks)
    else:  # the bit bites once a turn and stutters
        grind *= 1 + 0.35 * np.sin(2 * np.pi * np.cumsum(hz / 12) / SAMPLE_RATE) + 0.25 * _curve(rng, n, 40)
    weight = timbre.uniform(0.15, 0.8)
    return weight * (whine + 0.3 * gear) * (0.15 + 0.85 * glide) + grind * glide * (0.35 + 0.65 * load) * on


def _engine_idling(timbre: Generator, rng: Generator, seconds: float) -> np.ndarray:
    """Pulses in firing order, uneven from cylinder to cylinder, ringing in exhaust and body; diesel or petrol."""
    n = _length(seconds)
    cylinders = int(timbre.choice([1, 2, 3, 4, 4, 4, 6, 6, 8]))
    rpm = timbre.uniform(580, 950) * (1.4 if cylinders == 1 else 1.0)
    speed = 1 + 0.012 * _curve(rng, n, 1.0)
    if timbre.random() < 0.15:  # a foot on the pedal
        speed = speed + 0.9 * np.clip(_curve(rng, n, 0.4), 0, 2)
    firing = rpm / 120 * cylinders * speed  # a four-stroke cylinder fires every second turn
    uneven = timbre.uniform(0.05, 0.4)
    pattern = np.maximum(0.2, 1 + uneven * timbre.standard_normal(cylinders))
    pulses = _train(rng, n, firing, 0.02, pattern=pattern)
    exhaust = [(timbre.uniform(35, 80), 0.04, 1.0), (timbre.uniform(80, 180), 0.02, 0.5)]
    exhaust += [(timbre.uniform(200, 500), 0.01, 0.3), (timbre.uniform(600, 1200), 0.005, 0.15)]
    exhaust += [(timbre.uniform(1300, 3000), 0.003, 0.08)]
    body = _level(_ring(pulses, exhaust))
    diesel = timbre.random() < 0.4
    clatter = _level(_bursts(pulses, 0.006) * _noise(rng, n, [(200, -6.0), (1000, 0.0), (3000, -3.0), (9000, -22.0)]))
    rumble = _noise(rng, n, [(15, -14.0), (45, 0.0), (110, -5.0), (300, -18.0), (1000, -30.0), (8000, -62.0)])
    tilt = timbre.uniform(-8.0, -3.0)
    fan = _noise(
        rng, n, [(100, 0.0), *((hz, tilt * np.log2(hz / 100) + timbre.normal(0, 2)) for hz in (400, 1600, 6400))]
    )
    belt = _tone(firing * timbre.uniform(7, 19), _harmonics(1.2, 6))
    out = body + _db(timbre.uniform(-8, 0)) * rumble + _db(timbre.uniform(-14, -4)) * fan
    return out + _db(timbre.uniform(-13, -3) if diesel else timbre.uniform(-28, -18)) * clatter + 0.02 * belt


def _gun_shot(timbre: Generator, rng: Generator, seconds: float) -> np.ndarray:
    """The bullet's shock, the muzzle blast, and the echo of hills or walls, driven into the microphone's limit."""
    n = _length(seconds)
    calibre = timbre.uniform(0, 1)
    echo = timbre.uniform(0.8, 3.0)  # s
    # A blast is a Friedlander wave: a jump in pressure that falls through zero within milliseconds.
    t = _time(_length(0.1))
    width = 0.0007 + 0.0028 * calibre
    blast = (1 - t / width) * np.exp(-t / width)
    crack = np.zeros_like(t)
    crack[: _length(0.0003)] = np.linspace(1, -1, _length(0.0003))
    gap = _length(timbre.uniform(0.0, 0.02))  # the bullet is faster than its bang
    shot = timbre.uniform(0.05, 0.4) * crack
    shot[gap:] += blast[: len(t) - gap]
    gas = np.exp(-t / (0.006 + 0.015 * calibre)) * timbre.uniform(0.1, 0.35)

    burst = timbre.random() < 0.25
    rate, room = timbre.uniform(6, 13), _room(timbre, echo, timbre.uniform(-4, 3) if burst else timbre.uniform(2, 10))
    for delay in timbre.uniform(0.08, 0.45, timbre.integers(0, 4)):  # far walls: echoes that can be told apart
        if _length(delay) < len(room):
            room[_length(delay)] += timbre.uniform(0.05, 0.25)
    out, near = np.zeros(n), np.zeros(n)
    now = rng.uniform(0.01, 0.12)
    while now < max(0.3, seconds - 0.3):
        for k in range(rng.integers(3, 9) if burst else 1):
            first = _length(now + k / rate * rng.uniform(0.97, 1.03))
            if first < n:
                out[first : first + len(t)] += shot[: n - first] * rng.uniform(0.8, 1.0)
                near[first : first + len(t)] += (gas * rng.standard_normal(len(t)))[: n - first]
        now += rng.uniform(0.7, 1.8) if seconds > 1.8 and rng.random() < 0.4 else 60.0
    out = scipy.signal.oaconvolve(out, room)[:n] + near  # an echo of the gas would print its spectrum on the whole tail
    out = _equalise(out, [(50, -16.0), (200, -5.0), (900, 0.0), (2500, 3.0), (6000, 4.0), (10_000, -2.0)])
    return np.tanh(timbre.uniform(0.5, 3.0) * out / np.abs(out).max())


def _jackhammer(timbre: Generator, rng: Generator, seconds: float) -> np.ndarray:
    """Fifteen to thirty blows a second: chisel and ground ring, chips fly, air escapes, the compressor rumbles."""
    n = _length(seconds)
    rate = timbre.uniform(15, 30) * (1 + 0.015 * _curve(rng, n, 1.5))
    pulses = _train(rng, n, rate, 0.03, pattern=[1.0])
    steel = [(hz, timbre.uniform(0.004, 0.02), timbre.uniform(0.3, 1.0)) for hz in timbre.uniform(900, 6500, 8)]
    ground = [(timbre.uniform(50, 110), 0.03, 1.0), (timbre.uniform(120, 300), 0.015, 0.6)]
    ground += [(timbre.uniform(300, 800), 0.008, 0.4)]
    chips = _noise(rng, n, [(60, -6.0), (300, 0.0), (1500, -2.0), (4000, -5.0), (8000, -12.0), (10_500, -20.0)])
    hiss = _noise(rng, n, [(60, 3.0), (300, 0.0), (1500, -3.0), (5000, -8.0), (10_000, -18.0)])
    rumble = _noise(rng, n, [(15, -14.0), (50, 0.0), (150, -4.0), (400, -16.0), (4000, -44.0)])
    blows = _level(_bursts(pulses, timbre.uniform(0.004, 0.014)) * chips)
    out = blows + _db(timbre.uniform(-12, -3)) * _level(_ring(pulses, steel)) + _level(_ring(pulses, ground))
    out += _db(timbre.uniform(-8, 0)) * hiss + _db(timbre.uniform(-9, 1)) * rumble
    now = rng.uniform(2.0, 8.0) if timbre.random() < 0.5 else seconds
    while now < seconds - 1:  # the worker moves the chisel: only the compressor is left
        first, last = _length(now), _length(now + rng.uniform(0.3, 0.8))
        out[first:last] = 0.5 * (hiss + rumble)[first:last]
        now += rng.uniform(3.0, 8.0)
    return out


def _siren(timbre: Generator, rng: Generator, seconds: float) -> np.ndarray:
    """A harmonic source in a horn loudspeaker: wail, yelp or hi-lo, that drives past or stands."""
    n = _length(seconds)
    t = _time(n) + rng.uniform(0, 10)
    kind = timbre.choice(["wail", "wail", "yelp", "hi-lo", "mixed"])
    low, high = timbre.uniform(450, 750), timbre.uniform(1050, 1650)
    rise = timbre.uniform(0.25, 0.55)
    wail_period, yelp_period, step = timbre.uniform(3, 9), timbre.uniform(0.22, 0.45), timbre.uniform(0.4, 1.0)

    def sweep(period: float) -> np.ndarray:
        turn = t / period % 1.0
        up, down = 1 - np.exp(-3 * turn / rise), np.exp(-2.2 * (turn - rise) / (1 - rise))
        down_end, up_end = np.exp(-2.2), 1 - np.exp(-3)
        return np.where(turn < rise, up / up_end, (down - down_end) / (1 - down_end))

    if kind == "hi-lo":
        high = low * timbre.choice([1.33, 1.33, 1.26, 1.5])
        position = (t / step % 2 < 1).astype(float)
    elif kind == "mixed":
        position = np.where(t % 9 < 5, sweep(wail_period), sweep(yelp_period))
    else:
        position = sweep(wail_period if kind == "wail" else yelp_period)
    position = scipy.signal.lfilter([0.01], [1, -0.99], position - position[0]) + position[0]  # no jump within 5 ms
    hz = low * (high / low) ** position
    passing = rng.uniform(0.2, 0.8) * seconds
    speed = rng.choice([0.0, rng.uniform(3, 22)])  # m/s; the Doppler shift is speed over 343 m/s
    distance = (_time(n) - passing) / rng.uniform(0.6, 2.5)
    hz = hz * (1 - speed / 343 * np.tanh(distance))
    loud = 1 / np.sqrt(1 + (0.25 * distance) ** 2) if speed else 1 + 0.12 * _curve(rng, n, 1.0)
    colour = _harmonics(timbre.uniform(1.2, 3.2), 24) * np.where(np.arange(24) % 2, timbre.uniform(0.3, 1.0), 1.0)
    out = np.tanh(timbre.uniform(0.3, 1.2) * _tone(hz, colour)) * loud
    return _equalise(out, [(200, -18.0), (600, -3.0), (1000, 0.0), (2500, 0.0), (5000, -12.0), (9000, -26.0)])


def _note(rng: Generator, kind: str, midi: float, seconds: float) -> np.ndarray:
    """One note: `plucked` string, `bowed` string, `reed` (two, a little apart), `brass` or `sung`; MIDI pitch."""
    n = _length(seconds + (0.35 if kind == "plucked" else 0.06))
    pitch = 440 * 2 ** ((midi - 69) / 12)
    t = _time(n)
    steady = np.full(n, pitch)
    if kind == "plucked":
        bright = _tone(steady, _harmonics(0.6, 30)) * np.exp(-t / 0.06)
        dark = _tone(steady, _harmonics(1.6, 12)) * np.exp(-t / rng.uniform(0.25, 0.5))
        return (bright + dark) * _edges(n, 0.003, 0.05)
    if kind == "reed":
        colour = _harmonics(0.7, 30)
        return (_tone(steady, colour) + _tone(steady + 2.5, colour)) * 0.7 * _edges(n, 0.03, 0.05)
    vibrato = pitch * (1 + 0.006 * np.sin(2 * np.pi * 5.5 * t) * np.clip(t / 0.2, 0, 1))
    if kind == "sung":
        formants = np.outer([rng.uniform(400, 850), rng.uniform(1000, 2200), 2800, 3500], np.linspace(1, 1.1, n))
        source = _tone(vibrato / 2, _harmonics(1.0)) + 0.1 * rng.standard_normal(n)
        return 1.5 * _throat(source, formants, (0, -5, -10, -12)) * _edges(n, 0.05, 0.08)
    tone = _tone(vibrato, _harmonics(0.9 if kind == "bowed" else 0.8, 40))
    return (tone + 0.03 * rng.standard_normal(n)) * _edges(n, 0.07 if kind == "bowed" else 0.03, 0.06)


def _drum(rng: Generator, kind: str) -> np.ndarray:
    """One stroke: `kick`, `snare` or `hat`."""
    t = _time(_length(0.25))
    if kind == "kick":
        return 2.5 * np.sin(2 * np.pi * (55 * t + 1.5 * (1 - np.exp(-t / 0.02)))) * np.exp(-t / 0.07)
    noise = rng.standard_normal(len(t))
    if kind == "snare":
        return 0.8 * noise * np.exp(-t / 0.05) + np.sin(2 * np.pi * 190 * t) * np.exp(-t / 0.04)
    return 0.5 * np.diff(noise, prepend=0) * np.exp(-t / 0.025)


def _street_music(timbre: Generator, rng: Generator, seconds: float) -> np.ndarray:
    """A busker or a small band: melody over chords and bass, with or without drums, each in its key and tempo."""
    n = _length(seconds)
    beat = 60 / timbre.uniform(75, 150)
    scale = np.array([[0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 10], [0, 2, 3, 5, 7, 9, 10]][timbre.integers(3)])
    root = timbre.integers(40, 52)
    lead = timbre.choice(["plucked", "plucked", "bowed", "reed", "brass", "sung", "sung"])
    backing = timbre.choice(["plucked", "plucked", "reed"])
    drums, chords, bass = timbre.random() < 0.75, timbre.random() < 0.85, timbre.random() < 0.7
    progression = timbre.choice([0, 3, 4, 5, 1], 4)
    out = np.zeros(n + _length(4.0))

    def add(at: float, sound: np.ndarray, gain: float) -> None:
        first = _length(max(0.0, at + 0.008 * rng.standard_normal()))  # people are not clocks
        out[first : first + len(sound)] += gain * rng.uniform(0.7, 1.0) * sound

    def pitch(degree: int) -> float:
        return root + 12 * (degree // 7) + scale[degree % 7]

    degree = 16
    for count, now in enumerate(np.arange(0, seconds, beat)):
        chord = progression[count // 4 % 4]
        if bass and count % 2 == 0:
            add(now, _note(rng, "plucked", pitch(chord) - 0.02, beat * 1.5), 0.9)
        if chords:
            for shift in (7, 9, 11):
                add(now + beat / 2 * (count % 2), _note(rng, backing, pitch(chord + shift), beat * 0.8), 0.4)
        if drums:
            add(now, _drum(rng, "kick" if count % 2 == 0 else "snare"), 1.1)
            for half in (0, 0.5):
                add(now + half * beat, _drum(rng, "hat"), 0.6)
        for length in ([0.5, 0.5], [1.0], [0.25, 0.25, 0.5])[rng.integers(3)]:
            degree = int(np.clip(degree + rng.integers(-2, 3), 12, 23))
            if rng.random() < 0.88:
                add(now, _note(rng, lead, pitch(degree), length * beat * 0.95), 0.8)
            now += length * beat
    colour = [(60, -6.0), (150, 0.0), (400, timbre.uniform(-2, 3)), (1200, 0.0)]
    colour += [(3000, timbre.uniform(-5, 2)), (9000, -14.0)]
    return _equalise(out[:n], colour)


SOURCES: tuple[Callable[[Generator, Generator, float], np.ndarray], ...] = (
    _air_conditioner,
    _car_horn,
    _children_playing,
    _dog_bark,
    _drilling,
    _engine_idling,
    _gun_shot,
    _jackhammer,
    _siren,
    _street_music,
)
# Sources that go on before and after the annotated time; the others start and stop within it.
GOES_ON = {0, 2, 5, 7, 8, 9}
# Where the microphone stands, in dB of source over background beyond the common range: a shot drowns its street.
ADVANTAGE = (10.0, 2.0, 0.0, 10.0, 8.0, 8.0, 14.0, 8.0, -4.0, 3.0)


# --- A whole recording -----------------------------------------------------------------------------------------------


def _background(rng: Generator, n: int) -> np.ndarray:
    """A street without the source: coloured noise that breathes, sometimes hum, wind or passing cars."""
    tilt = rng.uniform(-7.0, -3.5)
    points = [(hz, tilt * np.log2(hz / 80) + rng.normal(0, 2)) for hz in (80, 200, 500, 1200, 3000, 8000)]
    out = _noise(rng, n, [(20, -10.0), *points]) * np.exp(0.15 * _curve(rng, n, 1.0))
    if rng.random() < 0.2:
        out += _db(rng.uniform(-24, -10)) * _tone(np.full(n, rng.choice([50.0, 60.0])), _harmonics(1.2, 12))
    if rng.random() < 0.3:  # a car far away
        swell = np.exp(-(((_time(n) - rng.uniform(0, n / SAMPLE_RATE)) / rng.uniform(1.5, 4.0)) ** 2))
        out += swell * _noise(rng, n, [(60, 0.0), (400, -6.0), (1000, -6.0), (3000, -20.0), (9000, -40.0)])
    if rng.random() < 0.2:  # wind on the membrane
        gusts = np.maximum(0, _curve(rng, n, 2.0)) ** 2
        out += gusts * _noise(rng, n, [(20, 0.0), (80, -4.0), (250, -30.0), (1000, -60.0)])
    return _level(out)


def synthesise(recording: Recording) -> np.ndarray:
    """Make the whole signal of a recording.

    Args:
        recording: One row of `mini.plan()`.

    Returns:
        Samples, int16 [T] at 22,050 Hz; the same for the same recording, in every process.

    Example:
        >>> from course_utils.datasets import mini
        >>> dogs = next(recording for recording in mini.plan() if recording.class_id == 3)
        >>> sound = synthesise(dogs)
        >>> sound.dtype, len(sound) == round(dogs.seconds * SAMPLE_RATE)
        (dtype('int16'), True)
    """
    seed, number = recording.seed
    of_place, moment, own_timbre = np.random.SeedSequence([seed, number]).spawn(3)
    place, rng = np.random.default_rng(of_place), np.random.default_rng(moment)
    n = _length(recording.seconds)
    source = np.zeros(n)
    active = np.zeros(n, dtype=bool)
    lead = 0.2 if recording.class_id in GOES_ON else 0.0
    for occurrence in sorted({part.occurrence for part in recording.slices}):
        parts = [part for part in recording.slices if part.occurrence == occurrence]
        start, end = parts[0].start - lead, parts[-1].end + lead
        timbre = np.random.default_rng(own_timbre)  # from the start each time: the same dog barks again
        sound = SOURCES[recording.class_id](timbre, rng, end - start)
        first, last = _length(start), _length(start) + len(sound)
        source[first:last] += sound * _edges(len(sound), lead + 0.002, lead + 0.01)
        active[first:last] = True

    distant = recording.salience == 2
    room = _room(place, place.uniform(0.25, 1.3), place.uniform(-4, 4) if distant else place.uniform(-20, -3))
    source = scipy.signal.oaconvolve(source, room)[:n]
    if distant:  # air and obstacles take the treble away
        source = _equalise(source, [(500, 0.0), (2000, place.uniform(-4, 0)), (9000, place.uniform(-18, -5))])
    ratio = place.uniform(0, 9) if distant else place.uniform(12, 30)
    ratio += ADVANTAGE[recording.class_id]
    loudest = np.sort(source[active] ** 2)[-max(1, active.sum() // 4) :]  # what counts is the sound, not its pauses
    mixed = source / np.sqrt(loudest.mean()) + _background(place, n) * _db(-ratio)

    # The microphone: no deep bass, a treble limit, a response that is not flat; and its own noise.
    corner = np.exp(place.uniform(np.log(25), np.log(220)))  # Hz
    limit = place.choice([4500.0, 7000.0, 10_000.0, 10_900.0], p=[0.1, 0.15, 0.25, 0.5])
    mixed = scipy.signal.sosfilt(scipy.signal.butter(2, corner, "highpass", fs=SAMPLE_RATE, output="sos"), mixed)
    mixed = scipy.signal.sosfilt(scipy.signal.butter(2, limit, "lowpass", fs=SAMPLE_RATE, output="sos"), mixed)
    mixed = _equalise(mixed, [(hz, place.normal(0, 1.5)) for hz in (60, 200, 600, 1500, 3500, 8000)])
    mixed += _db(place.uniform(-74, -50)) * rng.standard_normal(n)
    odd = any(part.rate != SAMPLE_RATE or part.subtype != "PCM_16" for part in recording.slices)
    # Between 0.05 and 0.95; odd formats get the middle, for 8 bits need a signal and resampling some headroom.
    peak = place.uniform(0.3, 0.7) if odd else 0.05 + 0.9 * place.beta(1.3, 1.6)
    return np.round(mixed * (32_767 * peak / np.abs(mixed).max())).astype(np.int16)
