import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from course_utils import audio, inference, training
from course_utils import data as run_data
from course_utils.audio import AudioError
from course_utils.configuration import Config, ConfigurationError, Recipe


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    """A network that knows the ten tones, trained for some seconds."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        config = Config(
            data=str(tones),
            width=8,
            n_mels=32,
            hop_length=1024,
            test_folds=(3,),
            epochs=24,
            batch_size=16,
            learning_rate=1e-2,
            spec_augment=False,
            accelerator="cpu",
            recipe=Recipe(joint="slots", slot_seconds=0.5),
        )
        training.train(config, folder, progress=False)
    return folder


def tone(class_id, seconds, rate=22_050):
    """A tone in noise, as the clips that the network was trained on."""
    time = np.arange(round(seconds * rate)) / rate
    return 0.3 * np.sin(2 * np.pi * 200 * (class_id + 1) * time) + 0.02 * np.random.default_rng(0).standard_normal(
        len(time)
    )


@pytest.mark.parametrize("seconds", [0.05, 0.5, 1.0, 1.1, 30.0])
def test_recordings_of_any_length(tmp_path, run, seconds):
    audio.write(tmp_path / "a.wav", tone(5, seconds, 44_100), 44_100)
    found = inference.predict(run, tmp_path / "a.wav")
    assert found.seconds == pytest.approx(seconds) and set(found.probabilities) == set(found.timeline.columns[2:])
    ends = found.timeline["end"].to_numpy()
    assert ends[-1] == pytest.approx(seconds) and found.timeline["start"][0] == 0
    assert (found.timeline["start"].to_numpy()[1:] <= ends[:-1]).all()
    assert len(found.timeline) == 1 + max(0, int(np.ceil((seconds - 1) / 0.5)))


def test_a_planted_sound_is_found_where_it_was_planted(tmp_path, run):
    recording = np.concatenate([tone(2, 20), tone(9, 1), tone(2, 19)])
    audio.write(tmp_path / "a.flac", recording)
    found = inference.predict(run, tmp_path / "a.flac")
    in_it = found.timeline["street_music"].to_numpy()
    touched = found.timeline["start"].between(19.5, 20.5).to_numpy()  # windows of 1 s that hold some of it
    assert in_it[touched].max() > 0.5 > in_it[~touched].max()


def test_predicting_equals_scoring(run, tmp_path):
    network, config, taxonomy, _ = training.load_network(run)
    test = run_data.prepare(config, progress=False).test
    waveform, _ = test[0]
    audio.write(tmp_path / "a.wav", waveform.numpy(), subtype="FLOAT")
    found = inference.predict(run, tmp_path / "a.wav")
    with torch.inference_mode():
        logits = network(waveform[None], torch.tensor([len(waveform)]))
    expected = dict(zip(taxonomy.classes, logits[0].sigmoid().tolist(), strict=True))
    assert found.probabilities == pytest.approx(expected, abs=1e-5)


def test_what_cannot_be_read_is_named(tmp_path, run):
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(AudioError, match=r"a\.wav"):
        inference.predict(run, tmp_path / "a.wav")


def test_windows_and_hops_of_any_length(tmp_path, run):
    audio.write(tmp_path / "a.wav", tone(5, 10.0))
    table = inference.predict(run, tmp_path / "a.wav", window=2.0, hop=0.75).timeline
    assert table["start"].to_numpy() == pytest.approx(
        [*(0.75 * np.arange(11)), 8.0]
    )  # the last ends with the recording
    assert table["end"].to_numpy() == pytest.approx(table["start"] + 2)
    for wrong in ({"window": 0.0}, {"hop": -1.0}, {"hop": float("nan")}, {"window": 1.0, "hop": 1.5}, {"hop": 1e-9}):
        with pytest.raises(ConfigurationError, match="a hop is at most a window"):
            inference.predict(run, tmp_path / "a.wav", **wrong)


def test_a_small_hop_says_more_exactly_where_a_sound_is(tmp_path, run):
    recording = np.concatenate([tone(2, 5.3), tone(9, 3), tone(2, 5)])
    audio.write(tmp_path / "a.wav", recording)

    def place(hop):
        found = inference.predict(run, tmp_path / "a.wav", hop=hop).timeline
        return float(np.average((found["start"] + found["end"]) / 2, weights=found["street_music"] ** 4))

    assert abs(place(0.1) - 6.8) < 0.3
    assert len(inference.predict(run, tmp_path / "a.wav", hop=0.1).timeline) == 124


def test_a_short_recording_is_not_read_with_silence_behind_it(tmp_path, tones):
    """The CRNN is told how much of a window is sound."""
    config = Config(
        data=str(tones), model="crnn", test_folds=(3,), epochs=1, accelerator="cpu", recipe=Recipe(slot_seconds=4.0)
    )
    training.train(config, tmp_path / "run", progress=False)
    audio.write(tmp_path / "a.wav", tone(5, 5.0), subtype="FLOAT")  # shorter than a window of 8 s
    network, config, taxonomy, _ = training.load_network(tmp_path / "run")
    found = inference.predict(tmp_path / "run", tmp_path / "a.wav").timeline[list(taxonomy.classes)].to_numpy()
    sound = np.pad(tone(5, 5.0), (0, 3 * 22_050))[None]
    told = inference.probabilities(network, sound, config, taxonomy, lengths=np.array([5 * 22_050]))
    untold = inference.probabilities(network, sound, config, taxonomy)
    assert found == pytest.approx(told, abs=1e-5) and np.abs(untold - told).max() > 1e-4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
def test_memory_does_not_grow_with_the_recording(tmp_path, run):
    """An hour, at the rate of a telephone, which makes 318 MB of samples at the course's rate."""
    rate = 8_000
    with soundfile.SoundFile(tmp_path / "hour.flac", "w", rate, 1) as file:
        for minute in range(60):
            file.write(tone(minute % 10, 60, rate).astype("float32"))
    audio.write(tmp_path / "minutes.flac", tone(1, 120, rate), rate)
    code = f"""
from course_utils import inference
def peak_megabytes(name):
    found = inference.predict({str(run)!r}, {str(tmp_path)!r} + "/" + name, window=8.0, hop=8.0)
    status = dict(line.split(":") for line in open("/proc/self/status"))
    return len(found.timeline), int(status["VmHWM"].removesuffix("kB\\n")) / 1000
print(*peak_megabytes("minutes.flac"), *peak_megabytes("hour.flac"))
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    few, before, many, after = map(float, printed.split())
    assert (few, many) == (15, 450) and after - before < 200 and after < 1000


@pytest.mark.parametrize(
    ("waveforms", "says"),
    [
        (np.zeros(100), r"\[B, T\], with at least one sample, not \[100\]"),
        (np.zeros((0, 100)), "at least one sample"),
        (np.full((1, 100), np.nan), "NaN or infinite"),
        (np.full((1, 100), np.inf), "NaN or infinite"),
    ],
)
def test_waveforms_that_cannot_be_heard_are_refused(waveforms, says):
    with pytest.raises(ValueError, match=says):
        inference.probabilities(None, waveforms, None, None)
