import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from course_utils import audio, experiment, inference, training
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
            width=4,
            n_mels=32,
            hop_length=1024,
            test_folds=(3,),
            epochs=12,
            batch_size=16,
            learning_rate=1e-2,
            spec_augment=False,
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
    assert in_it[touched].max() > 0.3 > in_it[~touched].max()


def test_predicting_equals_scoring(run, tmp_path):
    network, config, taxonomy, _ = training.load_network(run)
    test = experiment.prepare(config, progress=False).test
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
    assert table["start"].to_numpy() == pytest.approx(0.75 * np.arange(12))
    assert table["end"].to_numpy() == pytest.approx(np.minimum(0.75 * np.arange(12) + 2, 10))
    for wrong in ({"window": 0.0}, {"hop": -1.0}, {"hop": float("nan")}):
        with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))} must be a positive number of seconds"):
            inference.predict(run, tmp_path / "a.wav", **wrong)


def test_a_small_hop_finds_the_edges_of_a_planted_sound(tmp_path, run):
    recording = np.concatenate([tone(2, 5), tone(9, 3), tone(2, 5)])
    audio.write(tmp_path / "a.wav", recording)
    found = inference.predict(run, tmp_path / "a.wav", window=1.0, hop=0.1).timeline
    middle = (found["start"] + found["end"]) / 2
    strong = middle[found["street_music"] > found["street_music"].max() / 2]
    assert strong.min() == pytest.approx(5, abs=0.6) and strong.max() == pytest.approx(8, abs=0.6)


def test_the_end_of_a_recording_is_not_read_as_silence(tmp_path, tones):
    """The CRNN is told how much of the last window is sound."""
    config = Config(data=str(tones), model="crnn", test_folds=(3,), epochs=1, recipe=Recipe(slot_seconds=4.0))
    training.train(config, tmp_path / "run", progress=False)
    audio.write(tmp_path / "a.wav", tone(5, 5.0), subtype="FLOAT")
    network, config, taxonomy, _ = training.load_network(tmp_path / "run")
    found = inference.predict(tmp_path / "run", tmp_path / "a.wav").timeline[list(taxonomy.classes)].to_numpy()
    sound = np.pad(tone(5, 5.0), (0, 3 * 22_050))[None]
    told = inference.probabilities(network, sound, config, taxonomy, np.array([5 * 22_050]))
    untold = inference.probabilities(network, sound, config, taxonomy)
    assert found == pytest.approx(told, abs=1e-5) and np.abs(untold - told).max() > 1e-4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
def test_an_hour_of_audio_needs_less_than_a_gigabyte(tmp_path, run):
    rate = 4_000
    with soundfile.SoundFile(tmp_path / "hour.flac", "w", rate, 1) as file:
        for minute in range(60):
            file.write(tone(minute % 10, 60, rate).astype("float32"))
    code = f"""
from course_utils import inference
found = inference.predict({str(run)!r}, {str(tmp_path / "hour.flac")!r}, window=8.0, hop=8.0)
status = dict(line.split(":") for line in open("/proc/self/status"))
print(len(found.timeline), status["VmHWM"].removesuffix("kB\\n"))
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    windows, peak_kilobytes = map(int, printed.split())
    assert windows == 450 and peak_kilobytes < 1_000_000
