import numpy as np
import pytest
import torch

from course_utils import audio, experiment, inference, training
from course_utils.audio import AudioError
from course_utils.configuration import Config, Recipe


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
