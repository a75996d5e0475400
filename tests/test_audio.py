import datetime
import io
import re
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
    import base64

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
