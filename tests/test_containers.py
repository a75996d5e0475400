"""Files that are cut off, interrupted or no sound at all: each is named with what is wrong and what to do."""

import io
import os
import re
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from course_utils import audio, containers
from course_utils.audio import AudioError

NOISE = np.random.default_rng(0).uniform(-0.3, 0.3, 66_150).astype(np.float32)  # 3 s
PCM = (NOISE * 32_767).astype("<i2").tobytes()


def encoded(form, subtype=None, samples=NOISE, rate=22_050, **options):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype, **options)
    return file.getvalue()


def wav(data=PCM, size=None, riff=None, before=b"", behind=b""):
    """A WAV file with any lengths in its header."""
    body = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 22_050, 44_100, 2, 16) + before
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data + behind
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def refused(path, message):
    """All ways to look at a file refuse it in one sentence."""
    for look in (
        audio.read,
        audio.duration,
        lambda path: audio.read(path, start=0.1, seconds=0.2),
        lambda path: audio.read(path, seconds=0.2),
    ):
        with pytest.raises(AudioError, match=message) as caught:
            look(path)
        assert str(caught.value).startswith(f"{containers.shown(path)}: ") and "\n" not in str(caught.value)


WITH_LENGTH = [
    ("WAV", "PCM_16", "FILE"),
    ("WAV", "PCM_U8", "FILE"),
    ("WAV", "FLOAT", "FILE"),
    ("WAV", "PCM_16", "BIG"),  # RIFX
    ("WAV", "MS_ADPCM", "FILE"),
    ("WAV", "GSM610", "FILE"),
    ("WAVEX", "PCM_24", "FILE"),
    ("RF64", "PCM_16", "FILE"),
    ("W64", "PCM_16", "FILE"),
    ("AIFF", "PCM_16", "FILE"),
    ("AIFF", "FLOAT", "FILE"),
    ("AU", "PCM_16", "FILE"),
    ("AU", "PCM_16", "LITTLE"),
]


@pytest.mark.parametrize(("form", "subtype", "endian"), WITH_LENGTH)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_files_shorter_than_their_header_says_are_cut_off(tmp_path, form, subtype, endian, part):
    whole = encoded(form, subtype, endian=endian)
    (tmp_path / "a.wav").write_bytes(whole)
    length = audio.duration(tmp_path / "a.wav")
    assert len(audio.read(tmp_path / "a.wav")) == pytest.approx(length * 22_050, abs=1)
    (tmp_path / "a.wav").write_bytes(whole[: int(len(whole) * part)])
    refused(tmp_path / "a.wav", r"cut off: its header says [23]\.\d\d s, the file holds \d\.\d\d s; copy or download")


def test_the_sentence_has_the_right_seconds(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav()[: 44 + 66_150])
    refused(tmp_path / "a.wav", r"its header says 3\.00 s, the file holds 1\.50 s")


def test_half_a_caf_is_refused(tmp_path):
    whole = encoded("CAF", "PCM_16")
    (tmp_path / "a.caf").write_bytes(whole)
    assert len(audio.read(tmp_path / "a.caf")) == 66_150
    (tmp_path / "a.caf").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "a.caf", "malformed; delete it or download it again")


@pytest.mark.parametrize("form", ["FLAC", "MP3"])
@pytest.mark.parametrize("part", [0.5, 0.9, 0.99])
def test_half_a_compressed_file_is_refused_also_where_only_a_part_is_read(tmp_path, form, part):
    whole = encoded(form)
    (tmp_path / "a").write_bytes(whole)
    assert len(audio.read(tmp_path / "a")) == 66_150
    (tmp_path / "a").write_bytes(whole[: int(len(whole) * part)])
    refused(tmp_path / "a", r"cut off: its header says 3\.00 s, its end is missing")


OGG = [("VORBIS", 22_050), ("OPUS", 24_000)]


@pytest.mark.parametrize(("subtype", "rate"), OGG)
@pytest.mark.parametrize("part", [0.3, 0.5, 0.9, 0.999])
def test_half_an_ogg_is_refused(tmp_path, subtype, rate, part):
    whole = encoded("OGG", subtype, rate=rate)
    (tmp_path / "a.ogg").write_bytes(whole[: int(len(whole) * part)])
    refused(tmp_path / "a.ogg", "cut off: its last page is not whole; copy or download it again")


@pytest.mark.parametrize(("subtype", "rate"), OGG)
def test_an_ogg_without_its_last_page_or_one_between_is_refused(tmp_path, subtype, rate):
    whole = encoded("OGG", subtype, rate=rate)
    pages = [match.start() for match in re.finditer(b"OggS", whole)]
    (tmp_path / "a.ogg").write_bytes(whole[: pages[-1]])
    refused(tmp_path / "a.ogg", "cut off: its last page is missing")
    (tmp_path / "a.ogg").write_bytes(whole[: pages[-2]] + whole[pages[-1] :])
    refused(tmp_path / "a.ogg", f"damaged at byte {pages[-2]:,}; copy or download it again")


@pytest.mark.parametrize(("subtype", "rate"), OGG)
@pytest.mark.parametrize("place", [0.1, 0.5, 0.8])
def test_random_bytes_within_an_ogg_are_found(tmp_path, subtype, rate, place):
    data = bytearray(encoded("OGG", subtype, rate=rate))
    start = int(len(data) * place)
    for damaged in (
        data[:start] + np.random.default_rng(0).bytes(200) + data[start + 200 :],
        data[:start] + np.random.default_rng(0).bytes(200) + data[start:],
        data[:start] + bytes([data[start] ^ 1]) + data[start + 1 :],
        data[:start] + data[start + 200 :],
    ):
        (tmp_path / "a.ogg").write_bytes(damaged)
        refused(
            tmp_path / "a.ogg",
            r"(damaged at byte [\d,]+|cut off: its last page is not whole); copy or download it again",
        )


@pytest.mark.parametrize("behind", [b"TAG" + bytes(125), encoded("OGG")])
def test_what_follows_the_end_of_an_ogg_does_no_harm(tmp_path, behind):
    (tmp_path / "a.ogg").write_bytes(encoded("OGG") + behind)
    assert len(audio.read(tmp_path / "a.ogg")) == 66_150


def test_all_real_clips_and_originals_are_whole(real_root, originals):
    clips = sorted(real_root.glob("audio/*/*.ogg"))
    assert len(clips) == 2_148 and len(originals) == 10
    for path in [*clips, *originals]:
        assert audio.duration(path) > 0.01


def test_a_long_ogg_is_walked_through_once_until_it_changes(tmp_path, monkeypatch):
    path, sums = tmp_path / "a.ogg", []
    checksum = containers._ogg_checksum
    monkeypatch.setattr(containers, "_ogg_checksum", lambda page: sums.append(page) or checksum(page))
    path.write_bytes(encoded("OGG"))
    audio.read(path)
    count = len(sums)
    for start in (0.5, 1.0, 1.5):
        audio.read(path, start=start, seconds=0.5)
    assert count == len(sums) > 2
    damaged = bytearray(path.read_bytes())
    damaged[-100] ^= 1
    path.write_bytes(damaged)
    os.utime(path, ns=(0, 0))
    with pytest.raises(AudioError, match="damaged"):
        audio.read(path, start=0.5, seconds=0.5)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0xFFFFFFDB, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0x7FFFFFDB])
def test_streams_whose_header_cannot_know_the_length_are_read(tmp_path, size):
    (tmp_path / "a.wav").write_bytes(wav(size=size, riff=min(size + 36, 0xFFFFFFFF)))
    assert len(audio.read(tmp_path / "a.wav")) == 66_150


def test_an_au_stream_is_read(tmp_path):
    data = bytearray(encoded("AU", "PCM_16"))
    data[8:12] = b"\xff" * 4
    (tmp_path / "a.au").write_bytes(data)
    assert len(audio.read(tmp_path / "a.au")) == 66_150


@pytest.mark.parametrize("too_much", [16, 44])
def test_a_header_that_counts_itself_is_read(tmp_path, too_much):
    (tmp_path / "a.wav").write_bytes(wav(size=len(PCM) + too_much))
    assert len(audio.read(tmp_path / "a.wav")) == 66_150


@pytest.mark.parametrize("behind", [b"id3 \x08\0\0\0" + bytes(8), b"\0\1\2rubbish"])
def test_what_follows_the_sound_does_no_harm(tmp_path, behind):
    (tmp_path / "a.wav").write_bytes(wav(behind=behind))
    assert len(audio.read(tmp_path / "a.wav")) == 66_150


@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
@pytest.mark.parametrize("data", [PCM, bytes(1_000), PCM[:200]])
def test_an_interrupted_recording_is_no_empty_file(tmp_path, riff, data):
    (tmp_path / "a.wav").write_bytes(wav(data, size=0, riff=riff))
    refused(tmp_path / "a.wav", "interrupted before its header was finished; open it in a sound editor .* `ffmpeg -i")


def test_an_interrupted_au_is_no_empty_file(tmp_path):
    data = bytearray(encoded("AU", "PCM_16"))
    data[8:12] = bytes(4)
    (tmp_path / "a.au").write_bytes(data)
    refused(tmp_path / "a.au", "interrupted")


@pytest.mark.parametrize("behind", [b"", b"LIST\x04\0\0\0INFO"])
def test_an_empty_file_is_called_empty(tmp_path, behind):
    (tmp_path / "a.wav").write_bytes(wav(b"", behind=behind))
    refused(tmp_path / "a.wav", "0 frames; delete it or download it again")


def test_a_chunk_without_its_pad_byte_is_named(tmp_path):
    text = b"INFOISFT\x0f\0\0\0" + b"x" * 15
    (tmp_path / "a.wav").write_bytes(wav(before=b"LIST" + struct.pack("<I", len(text)) + text))
    refused(tmp_path / "a.wav", "a chunk of its header has a wrong length, so that its sound is not found; open it in")
    (tmp_path / "a.wav").write_bytes(wav(before=b"LIST" + struct.pack("<I", len(text)) + text + b"\0"))
    assert len(audio.read(tmp_path / "a.wav")) == 66_150


def test_a_flac_without_its_length_is_named(tmp_path):
    data = bytearray(encoded("FLAC"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(data)
    refused(tmp_path / "a.flac", "its header does not say how long it is; open it in a sound editor")


def test_one_sample_of_a_high_rate_is_as_good_as_none(tmp_path):
    for count in (1, 2):
        soundfile.write(tmp_path / "a.wav", np.full(count, 0.5), 192_000)
        with pytest.raises(AudioError, match=r"0 frames at 22,050 Hz .* delete it or download it again"):
            audio.read(tmp_path / "a.wav")
    assert len(audio.read(tmp_path / "a.wav", sample_rate=None)) == 2


def test_a_part_of_a_file_that_cannot_be_searched(tmp_path):
    (tmp_path / "a.wav").write_bytes(encoded("WAV", "GSM610"))
    whole = audio.read(tmp_path / "a.wav")
    assert len(whole) == pytest.approx(66_150, abs=500)
    assert np.array_equal(audio.read(tmp_path / "a.wav", start=1.0, seconds=0.5), whole[22_050:33_075])


# --- what is no sound -------------------------------------------------------------------------------------------------

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
NO_SOUND = [
    (LFS, "a Git LFS pointer; run `git lfs pull`"),
    (b"\n<!DOCTYPE html>\n<html><head>", "a web page was saved .* log in there or check the address"),
    (b"\xef\xbb\xbf<html lang=en>", "a web page was saved"),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page was saved"),
    (b'{"message": "Not Found", "status": 404}', "it holds text; check where it comes from"),
    ("name,größe\n".encode() * 1_000, "it holds text"),
    (b"\xff\xf1\x50\x80\x2e\x7f\xfc" + bytes(range(256)) * 4, "AAC; save it as WAV, FLAC, Ogg or MP3 first"),
    (b"\xff\xf9\x50\x80\x2e\x7f\xfc" + bytes(range(256)) * 4, "AAC; save it as WAV"),
    (b"\0\0\0\x18ftypM4A " + bytes(100), "MPEG-4 .* save it as WAV, FLAC, Ogg or MP3 first"),
    (b"\0\0\0\x1cftypisom" + bytes(100), "MPEG-4"),
    (b"\x1a\x45\xdf\xa3\x01\0\0\0" + bytes(100), "WebM or Matroska; save it as WAV"),
    (b"#!AMR\n" + bytes(100), "AMR, as phones record it; save it as WAV"),
    (b"PK\x03\x04" + bytes(100), "a ZIP archive; unpack it first"),
    (b"\x1f\x8b\x08" + bytes(100), "a gzip archive; unpack it first"),
    (b"\x89PNG\r\n\x1a\n" + bytes(100), "a picture"),
    (bytes(5_000), "only zeros; copy or download it again"),
    (np.random.default_rng(1).bytes(5_000), ".*; delete it or download it again"),
]


@pytest.mark.parametrize("name", ["a.wav", "a.ogg", "a"])
@pytest.mark.parametrize(("content", "message"), NO_SOUND)
def test_what_lies_in_a_file_that_is_no_sound_is_said(tmp_path, content, message, name):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, f"not a sound file that can be read: {message}")


@pytest.mark.parametrize("ending", ["webm", "mkv", "wma", "M4A"])
def test_foreign_endings_are_to_be_converted(tmp_path, ending):
    (tmp_path / f"a.{ending}").write_bytes(np.random.default_rng(1).bytes(5_000))
    refused(tmp_path / f"a.{ending}", "save it as WAV, FLAC, Ogg or MP3 first")


def test_what_is_no_file_is_said(tmp_path):
    refused(tmp_path / "missing.wav", "no such file")
    refused(tmp_path / ("a" * 300), "cannot be opened")
    (tmp_path / "a.wav").mkdir()
    refused(tmp_path / "a.wav", "a folder, not a sound file")


@pytest.mark.skipif(os.name == "nt", reason="no pipes with names, and links need rights")
def test_links_and_pipes_are_said_at_once(tmp_path):
    (tmp_path / "a.wav").symlink_to("b.wav")
    refused(tmp_path / "a.wav", "a link to a file that is not there")
    (tmp_path / "b.wav").symlink_to("a.wav")
    refused(tmp_path / "a.wav", "a link that leads back to itself")
    os.mkfifo(tmp_path / "pipe.wav")
    code = "import sys; from course_utils import audio; audio.read(sys.argv[1])"
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "pipe.wav"], capture_output=True, text=True, timeout=60
    )
    assert "a pipe or a device, not a sound file" in run.stderr
    refused("/dev/zero", "a pipe or a device")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep names in Unicode")
def test_names_that_are_not_utf8_can_be_read_and_printed(tmp_path):
    path = tmp_path / os.fsdecode(b"bad\xff.wav")
    path.write_bytes(wav())
    assert len(audio.read(path)) == 66_150
    path.write_bytes(wav()[:1_000])
    for bad in (path, tmp_path / os.fsdecode(b"none\xff.wav")):
        with pytest.raises(AudioError, match=r"\\udcff\.wav") as caught:
            audio.read(bad)
        str(caught.value).encode("utf-8")
