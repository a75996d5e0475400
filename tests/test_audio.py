import base64
import datetime
import io
import re
import shutil
import subprocess
import sys
import tempfile

import ipywidgets
import numpy as np
import pytest
import soundfile

from course_utils import audio
from course_utils.audio import AudioError


def tone(rate: int, seconds: float = 1.0, frequency: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


FORMATS = [
    ("WAV", "PCM_U8", 0.02),
    ("WAV", "PCM_16", 1e-3),
    ("WAV", "PCM_24", 1e-3),
    ("WAV", "PCM_32", 1e-3),
    ("WAV", "FLOAT", 1e-3),
    ("WAV", "MS_ADPCM", 0.05),
    ("WAV", "IMA_ADPCM", 0.05),
    ("WAVEX", "PCM_24", 1e-3),
    ("FLAC", "PCM_16", 1e-3),
    ("OGG", "VORBIS", 0.05),
]


@pytest.mark.parametrize(("form", "subtype", "tolerance"), FORMATS)
@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_reads_as_the_same_tone(tmp_path, form, subtype, tolerance, rate, channels):
    if form == "OGG" and rate == 192_000:
        pytest.skip("libvorbis does not encode 192 kHz at its default quality")
    ending = {"WAVEX": "wav"}.get(form, form.lower())
    path = tmp_path / f"tone.{ending}"
    soundfile.write(path, np.stack([tone(rate)] * channels, axis=1), rate, subtype=subtype, format=form)
    found = audio.read(path)
    assert found.dtype == np.float32 and found.ndim == 1
    assert len(found) == pytest.approx(22_050, abs=2 if "ADPCM" not in subtype else 2_000)
    inner = slice(2_000, 20_000)  # resamplers need a run-up, and ADPCM fills its last block
    assert np.abs(found[inner] - tone(22_050)[inner]).max() < max(tolerance, 2e-3)


def test_channels_are_averaged(tmp_path):
    left = tone(22_050)
    soundfile.write(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], axis=1), 22_050, subtype="FLOAT")
    assert np.allclose(audio.read(tmp_path / "a.wav"), left / 2, atol=1e-6)


def test_originals_read_at_the_length_of_their_metadata(originals):
    for path in originals:
        clip = audio.read(path)
        assert len(clip) == pytest.approx(audio.duration(path) * 22_050, abs=2)
        assert 0 < np.abs(clip).max() <= 1.2, path


def test_originals_agree_with_librosa(originals):
    librosa = pytest.importorskip("librosa")
    for path in originals:
        reference, _ = librosa.load(path, sr=22_050, mono=True, res_type="soxr_hq")
        assert np.abs(audio.read(path) - reference).max() < 1e-4 * max(np.abs(reference).max(), 0.1), path


def test_a_part_of_a_file(tmp_path):
    audio.write(tmp_path / "a.wav", np.arange(22_050) / 22_050, subtype="FLOAT")
    part = audio.read(tmp_path / "a.wav", start=0.5, seconds=0.1)
    assert len(part) == 2_205 and part[0] == pytest.approx(0.5, abs=1e-4)
    assert len(audio.read(tmp_path / "a.wav", start=0.9, seconds=5.0)) == 2_205
    with pytest.raises(AudioError, match="nothing to read"):
        audio.read(tmp_path / "a.wav", start=1.5)


def bad_files(folder):
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is no sound")
    (folder / "folder.wav").mkdir()
    soundfile.write(folder / "zero.wav", np.zeros(0, np.float32), 22_050)
    nan = tone(22_050)
    nan[100] = np.nan
    soundfile.write(folder / "nan.wav", nan, 22_050, subtype="FLOAT")
    whole = io.BytesIO()
    soundfile.write(whole, tone(22_050), 22_050, format="FLAC")
    (folder / "half.flac").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (folder / "header.wav").write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt ")
    return ["empty.wav", "text.wav", "folder.wav", "zero.wav", "nan.wav", "half.flac", "header.wav", "missing.wav"]


def test_bad_files_are_named_with_what_to_do(tmp_path):
    for name in bad_files(tmp_path):
        with pytest.raises(AudioError, match=re.escape(name)):
            audio.read(tmp_path / name)


def test_writing_nan_keeps_the_old_file(tmp_path):
    audio.write(tmp_path / "a.wav", tone(22_050))
    with pytest.raises(AudioError, match="not written"):
        audio.write(tmp_path / "a.wav", np.array([0.0, np.nan]))
    assert len(audio.read(tmp_path / "a.wav")) == 22_050


@pytest.mark.parametrize("value", [1e11, -1e11, 1e30, 3e38])
def test_samples_that_no_sound_can_have_are_refused(tmp_path, value):
    samples = tone(22_050)
    samples[1_000] = value
    soundfile.write(tmp_path / "a.wav", samples, 22_050, subtype="FLOAT")
    with pytest.raises(
        AudioError, match=rf"a\.wav: the loudest sample is {abs(value):.1e}, and .* export it again".replace("+", r"\+")
    ):
        audio.read(tmp_path / "a.wav")
    with pytest.raises(AudioError, match=r"b\.wav: not written, because the loudest sample is"):
        audio.write(tmp_path / "b.wav", samples)
    assert not (tmp_path / "b.wav").exists()


def test_floats_on_the_scale_of_32_bit_integers_are_read(tmp_path):
    audio.write(tmp_path / "a.wav", tone(22_050) * 2**32, subtype="FLOAT")
    assert audio.read(tmp_path / "a.wav").max() == pytest.approx(2**31, rel=1e-3)


def test_a_part_begins_within_the_sound(tmp_path):
    audio.write(tmp_path / "a.wav", tone(22_050))
    for place in ({"start": -1.0}, {"seconds": -1.0}, {"start": np.nan}, {"seconds": np.inf}):
        with pytest.raises(AudioError, match="start and seconds are 0 or more"):
            audio.read(tmp_path / "a.wav", **place)


NO_WAVEFORMS = [
    (np.zeros((2, 100)), r"one dimension, \[T\], not 2: \[2, 100\]; pass one channel, or the mean"),
    (np.zeros((100, 1)), r"not 2: \[100, 1\]"),
    (np.float32(0.5), r"not 0: \[\]"),
    (np.zeros((1, 2, 3)), r"not 3: \[1, 2, 3\]"),
    (np.zeros(100, complex), "real numbers, not of complex128"),
    (["a", "b"], "real numbers, not of"),
    ([[1.0], [1.0, 2.0]], "not an array of numbers"),
    (np.r_[np.zeros(22_049), np.nan], r"1 of 22,050 samples is not a number \(NaN or infinite\); find out where"),
    (np.r_[np.zeros(5), np.inf, -np.inf], r"2 of 7 samples are not numbers"),
    (np.full(10, np.nan), "10 of 10 samples are not numbers"),
    (np.array([1e300]), r"the loudest sample is 1.0e\+300"),
]


@pytest.mark.parametrize(("waveform", "message"), NO_WAVEFORMS)
def test_what_is_no_waveform_is_neither_played_nor_written(tmp_path, waveform, message):
    with pytest.raises(AudioError, match=message):
        audio.player(waveform)
    with pytest.raises(AudioError, match=message):
        audio.listen(waveform)
    with pytest.raises(AudioError, match=r"a\.wav: not written, because .*" + message):
        audio.write(tmp_path / "a.wav", waveform)
    assert list(tmp_path.iterdir()) == []


def test_tensors_and_integers_are_waveforms(tmp_path):
    import torch

    audio.write(tmp_path / "a.wav", torch.from_numpy(tone(22_050)))
    assert audio.player(torch.from_numpy(tone(22_050))) == audio.player(tone(22_050).tolist())
    assert audio.player((tone(22_050) * 20_000).astype(np.int16))
    assert np.abs(audio.read(tmp_path / "a.wav") - tone(22_050)).max() < 1e-4


def heard(html):
    data = base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])
    return soundfile.read(io.BytesIO(data))[0]


@pytest.mark.parametrize("peak", [1e-310, 1e-45, 1e-40, 1e-5, 1.0, 1e9])
def test_players_are_as_loud_whatever_the_peak(peak):
    assert np.abs(heard(audio.player(tone(22_050).astype(np.float64) / 0.5 * peak))).max() == pytest.approx(
        0.95, abs=0.1
    )


def test_silence_is_played_as_silence():
    assert np.abs(heard(audio.player(np.zeros(22_050)))).max() == 0


def test_an_empty_sound_has_no_player():
    with pytest.raises(AudioError, match=r"an empty sound, .* nothing to play"):
        audio.player([])


@pytest.mark.parametrize("rate", [1_000, 10_000, 22_051, 96_000, 192_000])
def test_a_player_says_which_rates_there_are(rate):
    with pytest.raises(AudioError, match=rf"8000, .* 22050, .* 48000\), not {rate} Hz; use `audio.resample` first"):
        audio.player(np.zeros(1_000), sample_rate=rate)


@pytest.mark.parametrize("rate", audio.MP3_RATES)
def test_all_rates_of_mp3_have_a_player(rate):
    assert heard(audio.player(tone(rate, 0.2), sample_rate=rate)).size >= rate * 0.2


LONG = """
import sys, numpy as np
from course_utils import audio
rate, seconds = int(sys.argv[2]), int(sys.argv[3])
sound = np.random.default_rng(0).uniform(-0.3, 0.3, rate * seconds).astype(np.float32)
audio.write(sys.argv[1], sound, rate)
print(audio.duration(sys.argv[1]))
"""


@pytest.mark.parametrize(("rate", "seconds"), [(44_100, 60), (22_050, 300)])
def test_a_long_ogg_is_written(tmp_path, rate, seconds):
    command = [sys.executable, "-c", LONG, tmp_path / "a.ogg", str(rate), str(seconds)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0 and float(run.stdout) == seconds, run.stderr


def test_blocks_join_without_a_seam(tmp_path):
    sound = np.random.default_rng(0).uniform(-0.9, 0.9, 2 * audio.BLOCK + 7)
    for ending, subtype in (("wav", "PCM_24"), ("flac", "PCM_24"), ("wav", "FLOAT")):
        audio.write(tmp_path / f"a.{ending}", sound, subtype=subtype)
        assert np.abs(audio.read(tmp_path / f"a.{ending}") - sound).max() < 2e-7


@pytest.mark.parametrize("name", ["a", "a.xyz", "a.m4a", "a.raw", "a.opus"])
def test_an_ending_without_a_format_is_said(tmp_path, name):
    with pytest.raises(AudioError, match=r"its ending names no format; choose \.wav, \.flac, \.ogg or \.mp3"):
        audio.write(tmp_path / name, tone(22_050))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "subtype"), [("a.wav", "PCM_99"), ("a.flac", "FLOAT"), ("a.ogg", "PCM_16")])
def test_a_subtype_that_the_format_lacks_is_said(tmp_path, name, subtype):
    with pytest.raises(AudioError, match=rf"not written, because \w+ has no subtype '{subtype}'; it has .*[A-Z]"):
        audio.write(tmp_path / name, tone(22_050), subtype=subtype)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "rate"), [("a.mp3", 96_000), ("a.flac", 700_000), ("a.wav", 0), ("a.wav", -1)])
def test_a_rate_that_the_format_lacks_is_said(tmp_path, name, rate):
    with pytest.raises(AudioError, match=r"a\.\w+: not written \(.*\); choose another rate, subtype or ending"):
        audio.write(tmp_path / name, tone(22_050), rate)
    assert list(tmp_path.iterdir()) == []


class Full(soundfile.SoundFile):
    """A file that the system writes a part of only."""

    def write(self, data):
        super().write(data[:100])
        raise soundfile.LibsndfileError(2)


@pytest.mark.parametrize(
    ("free", "message"), [(1_000, "because the disk is full; free"), (10**9, "the disk is not full")]
)
def test_what_the_system_refuses_to_write_is_said(tmp_path, monkeypatch, free, message):
    audio.write(tmp_path / "a.wav", tone(22_050))
    monkeypatch.setattr(soundfile, "SoundFile", Full)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, free))
    with pytest.raises(OSError, match=rf"a\.wav: not written, .*{message}"):
        audio.write(tmp_path / "a.wav", np.zeros(10))
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"] and len(audio.read(tmp_path / "a.wav")) == 22_050


LIMITED = """
import os, resource, signal, sys, numpy as np
from course_utils import audio
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sound, path = np.random.default_rng(0).uniform(-0.5, 0.5, 100_000), sys.argv[1]
audio.write(path, sound)
size = os.path.getsize(path)
os.unlink(path)
for short in (100, 1_000, size // 2):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - short, resource.RLIM_INFINITY))
    try:
        audio.write(path, sound)
    except OSError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits")
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_quota_is_said_and_leaves_no_half_also_where_only_the_end_is_missing(tmp_path, name):
    run = subprocess.run([sys.executable, "-c", LIMITED, tmp_path / name], capture_output=True, text=True)
    assert run.stdout.count(f"{name}: not written, though the disk is not full") == 3 and run.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_no_half(tmp_path):
    (tmp_path / "small").mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", tmp_path / "small"], capture_output=True
    ).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        for name in ("a.wav", "a.flac", "a.ogg"):
            with pytest.raises(OSError, match=rf"{name}: not written, because the disk is full; free some space"):
                audio.write(tmp_path / "small" / name, np.random.default_rng(0).uniform(-0.5, 0.5, 4_000_000))
            assert list((tmp_path / "small").iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path / "small"], check=True)


def test_fit_length_cuts_and_fills():
    assert audio.fit_length(np.ones(5, np.float32), 3).tolist() == [1, 1, 1]
    assert audio.fit_length(np.ones(2, np.float32), 4).tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("seconds", [0.05, 4.0, 8.0, 12.0])
def test_players_are_small_and_play(seconds, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    noise = np.random.default_rng(0).standard_normal(round(22_050 * seconds)).astype(np.float32)
    audio.listen(noise, "noise & <tone>")
    (html,) = (item.data for item in shown)
    assert len(html) < 90_000 and "noise &amp; &lt;tone&gt;" in html
    assert audio.player(noise, "noise & <tone>") == html and "<div>" not in audio.player(noise)
    data = base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])
    decoded, rate = soundfile.read(io.BytesIO(data))
    assert rate == 22_050 and len(decoded) >= len(noise) and 0.3 < np.abs(decoded).max() < 1.3


def test_a_player_of_a_minute_is_refused():
    with pytest.raises(ValueError, match="too long"):
        audio.listen(np.random.default_rng(0).standard_normal(22_050 * 90).astype(np.float32))


def a_button(monkeypatch, use):
    """Show the upload button, and return it."""
    made, shown = [], []

    class Button(ipywidgets.FileUpload):
        def __init__(self, **options):
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr("ipywidgets.FileUpload", Button)
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    audio.upload(use)
    assert shown[0]["text/plain"] == "Run this cell to see its button."
    box = ipywidgets.VBox.widgets[shown[0]["application/vnd.jupyter.widget-view+json"]["model_id"]]
    assert box.children[0] is made[0] and isinstance(box.children[1], ipywidgets.Output)
    return box.children


def a_file(name, content):
    """What a button of ipywidgets 8 holds."""
    value = {"name": name, "type": "audio/x-wav", "size": len(content), "content": memoryview(content)}
    return ({**value, "last_modified": datetime.datetime.now(tz=datetime.UTC)},)


def choose(button, name, content):
    """Do what the browser does when somebody chooses a file."""
    if int(ipywidgets.__version__.split(".")[0]) >= 8:
        button.value = a_file(name, content)
    else:
        button.set_state({"metadata": [{"name": name}], "data": [memoryview(content)], "_counter": button._counter + 1})


def test_an_uploaded_file_is_handed_over_under_its_name(monkeypatch):
    file, heard = io.BytesIO(), []
    soundfile.write(file, tone(8000), 8000, format="WAV")

    def use(path):
        heard.append((path.name, len(audio.read(path)), path))

    button, _ = a_button(monkeypatch, use)
    choose(button, "../street.wav", file.getvalue())
    choose(button, "again.wav", file.getvalue())
    assert [h[:2] for h in heard] == [("street.wav", 22_050), ("again.wav", 22_050)]
    assert not heard[0][2].exists()


def test_what_a_function_says_of_an_upload_stands_below_the_button(monkeypatch):
    button, below = a_button(monkeypatch, lambda path: print("heard", path.name))
    for name in ("a.wav", "b.wav"):
        choose(button, name, b"1234")
        assert [part["text"] for part in below.outputs] == [f"heard {name}\n"]


@pytest.mark.parametrize(
    ("use", "message"),
    [(audio.read, "notes.wav: not a sound file that can be read"), (lambda path: {}["a"], "KeyError: 'a'")],
)
def test_what_goes_wrong_with_an_upload_is_said(monkeypatch, use, message):
    button, below = a_button(monkeypatch, use)
    choose(button, "notes.wav", b"no sound at all")
    said = below.outputs[0]["text"]
    assert said.startswith(message) and tempfile.gettempdir() not in said


def test_what_a_phone_records_has_to_be_converted(tmp_path):
    (tmp_path / "memo.m4a").write_bytes(b"\0\0\0 ftypM4A " + bytes(100))
    with pytest.raises(audio.AudioError, match="save it as WAV, FLAC, Ogg or MP3 first"):
        audio.read(tmp_path / "memo.m4a")


def test_what_is_uploaded_is_found_in_both_forms_of_ipywidgets():
    content = b"1234"
    of_seven = {"a.wav": {"metadata": {"name": "a.wav"}, "content": content}}
    assert audio._uploaded(of_seven) == audio._uploaded(a_file("a.wav", content)) == [("a.wav", content)]
    assert audio._uploaded({}) == audio._uploaded(()) == []


@pytest.mark.parametrize(("rate", "wanted"), [(0, 8_000), (8_000, 0), (8_000, -1)])
def test_rates_that_are_none_are_refused(rate, wanted):
    with pytest.raises(ValueError, match=f"positive numbers of Hz; got {rate} and {wanted}"):
        audio.resample(np.zeros(10, np.float32), rate, wanted)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_resampled(value):
    with pytest.raises(ValueError, match="NaN or infinite"):
        audio.resample(np.array([0, value], np.float32), 8_000, 16_000)


def test_a_negative_length_is_refused():
    with pytest.raises(ValueError, match="not -1"):
        audio.fit_length(np.zeros(4), -1)
