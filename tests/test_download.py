"""The download, against a server of this machine that breaks off, lies and forgets as real ones do."""

import errno
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile

from course_utils import files
from course_utils.datasets import open_folder, urbansound8k
from course_utils.datasets.urbansound8k import DownloadError
from course_utils.files import NoRoomError


def member(archive, name, data, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    archive.addfile(info, io.BytesIO(data))


def sound(i):
    file = io.BytesIO()
    noise = np.random.default_rng(i).uniform(-0.5, 0.5, 11_025)
    soundfile.write(file, noise, 22_050, format="WAV", subtype="PCM_16")
    return file.getvalue()


NAMES = [(f"{100 + i}-{i % 10}-0-0.wav", i % 3 + 1, i) for i in range(20)]


def make_archive(extra=()):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, data, *rest in extra:
            member(archive, name, data, *rest)
        for name, fold, i in NAMES:
            member(archive, f"UrbanSound8K/audio/fold{fold}/{name}", sound(i))
        rows = [f"{name},{100 + i},0,0.5,1,{fold},{i % 10},class{i % 10}" for name, fold, i in NAMES]
        table = "slice_file_name,fsID,start,end,salience,fold,classID,class\n" + "\n".join(rows)
        for number, label in enumerate(
            [
                "air_conditioner",
                "car_horn",
                "children_playing",
                "dog_bark",
                "drilling",
                "engine_idling",
                "gun_shot",
                "jackhammer",
                "siren",
                "street_music",
            ]
        ):
            table = table.replace(f"class{number}", label)
        member(archive, "UrbanSound8K/metadata/UrbanSound8K.csv", table.encode())
    return buffer.getvalue()


ARCHIVE = make_archive()


class Server:
    """Serves one archive; `cuts` says after how many bytes each connection breaks off."""

    def __init__(self, archive=ARCHIVE, cuts=(), ranges=True, status=200, length=None):
        self.requests, self.sent, cuts = [], 0, list(cuts)
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked = self.headers.get("Range")
                owner.requests.append(asked)
                start = int(asked[6:-1]) if asked and ranges else 0
                if status != 200:
                    self.send_error(status)
                    return
                if start >= len(archive):
                    self.send_error(416)
                    return
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", length or str(len(archive) - start))
                self.end_headers()
                stop = cuts.pop(0) if cuts else len(archive)
                for begin in range(start, min(start + stop, len(archive)), 1 << 16):
                    block = archive[begin : min(begin + (1 << 16), start + stop)]
                    try:
                        self.wfile.write(block)
                    except OSError:
                        return
                    owner.sent += len(block)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/UrbanSound8K.tar.gz"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def download(root, server, archive=ARCHIVE):
    return urbansound8k.download(root, server.url, hashlib.md5(archive).hexdigest(), progress=False)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(urbansound8k.time, "sleep", lambda seconds: None)


def test_the_whole_set_arrives(tmp_path):
    with Server() as server:
        folder = download(tmp_path, server)
    dataset = open_folder(folder)
    assert len(dataset.clips) == 20 and dataset.missing.empty
    assert sorted(p.name for p in tmp_path.iterdir()) == ["UrbanSound8K"]
    assert open_folder(tmp_path).root == folder


def test_a_cut_connection_goes_on_where_it_stopped(tmp_path):
    with Server(cuts=[100_000, 50_000, 1]) as server:
        download(tmp_path, server)
    assert server.requests[:3] == [None, "bytes=100000-", "bytes=150000-"]
    assert server.sent == len(ARCHIVE)


def test_a_dead_server_keeps_what_has_arrived(tmp_path):
    with Server(cuts=[70_000] + [0] * 20) as server, pytest.raises(DownloadError, match="run the same command again"):
        download(tmp_path, server)
    assert (tmp_path / "UrbanSound8K.tar.gz.part").stat().st_size == 70_000
    with Server() as server:
        download(tmp_path, server)
    assert server.requests == ["bytes=70000-"]


def test_a_server_without_ranges_starts_again(tmp_path):
    with Server(cuts=[100_000], ranges=False) as server:
        # It answers 200 to a request for the rest: what is there must not be doubled.
        server.server.RequestHandlerClass.send_response, original = (
            (lambda self, code, *a: original(self, 200, *a)),
            server.server.RequestHandlerClass.send_response,
        )
        download(tmp_path, server)
    assert len(open_folder(tmp_path).clips) == 20


def test_a_wrong_archive_that_somebody_put_there_is_named_and_left(tmp_path):
    (tmp_path / "UrbanSound8K.tar.gz").write_bytes(ARCHIVE[:1000])
    with Server() as server, pytest.raises(DownloadError, match=r"UrbanSound8K\.tar\.gz: its MD5 sum is .* delete it"):
        download(tmp_path, server)
    assert server.sent == 0 and (tmp_path / "UrbanSound8K.tar.gz").read_bytes() == ARCHIVE[:1000]


def test_a_right_archive_that_somebody_put_there_is_used_and_leftovers_go(tmp_path):
    (tmp_path / "UrbanSound8K.tar.gz").write_bytes(ARCHIVE)
    (tmp_path / ".UrbanSound8K-whole-x.part").mkdir()
    (tmp_path / "UrbanSound8K" / "metadata").mkdir(parents=True)
    table = "slice_file_name,fsID,fold,classID,class\n1-0-0-0.wav,1,1,0,air_conditioner\n"
    (tmp_path / "UrbanSound8K" / "metadata" / "UrbanSound8K.csv").write_text(table)
    with Server() as server:
        download(tmp_path, server)
    assert [p.name for p in tmp_path.iterdir()] == ["UrbanSound8K"] and len(open_folder(tmp_path).clips) == 20
    assert server.sent == 0


def test_a_whole_part_file_is_checked_and_used(tmp_path):
    (tmp_path / "UrbanSound8K.tar.gz.part").write_bytes(ARCHIVE)
    with Server() as server:
        download(tmp_path, server)
    assert server.sent == 0 and len(open_folder(tmp_path).clips) == 20


def test_a_wrong_hash_is_said_and_not_unpacked(tmp_path):
    with Server() as server, pytest.raises(DownloadError, match="MD5 sum"):
        urbansound8k.download(tmp_path, server.url, "0" * 32, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_page_is_said_at_once(tmp_path):
    with Server(status=404) as server, pytest.raises(DownloadError, match="404"):
        download(tmp_path, server)
    assert len(server.requests) == 1


def test_too_little_disk_is_said_before(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 1_000))
    with Server() as server, pytest.raises(NoRoomError, match="MB free"):
        download(tmp_path, server)


def test_a_disk_that_fills_up_keeps_what_has_arrived(tmp_path, monkeypatch):
    with Server(cuts=[100_000] + [0] * 20) as server, pytest.raises(DownloadError):
        download(tmp_path, server)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(urbansound8k, "_fetch_rest", full)
    with pytest.raises(DownloadError, match="disk is full"):
        urbansound8k.download(tmp_path, "http://127.0.0.1:1/x", "0", progress=False)
    assert (tmp_path / "UrbanSound8K.tar.gz.part").stat().st_size == 100_000


def test_kept_data_are_found_again(tmp_path):
    with Server() as server:
        download(tmp_path, server)
        count = len(server.requests)
        download(tmp_path, server)
        assert len(server.requests) == count


@pytest.mark.parametrize("length", ["abc", "1.5", "-7"])
def test_a_length_that_is_no_number_is_said(tmp_path, length):
    with (
        Server(length=length) as server,
        pytest.raises(DownloadError, match=f"gives '{length}' as the length") as caught,
    ):
        download(tmp_path, server)
    assert len(server.requests) == 1 and server.url in str(caught.value)


ALONE = """
import sys
from course_utils.files import alone_in
with alone_in(sys.argv[1], "downloads UrbanSound8K"):
    print("begun", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    "get", [download, lambda root, server: urbansound8k.stream(root, 5, server.url, progress=False)]
)
def test_two_at_once_do_not_download_into_one_folder(tmp_path, monkeypatch, get):
    monkeypatch.setattr(files, "_PATIENCE", 0.1)
    other = subprocess.Popen(
        [sys.executable, "-c", ALONE, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "begun\n"
    with Server() as server:
        with pytest.raises(files.FolderInUseError, match="another process downloads UrbanSound8K there; wait until"):
            get(tmp_path, server)
        assert server.requests == []
        other.kill()
        other.communicate()
        get(tmp_path, server)
    assert len(open_folder(tmp_path).clips) >= 5 and not (tmp_path / ".lock").exists()


def test_what_a_killed_stream_left_is_deleted_and_counts_as_nothing(tmp_path):
    folder = tmp_path / "UrbanSound8K" / "audio" / "fold1"
    folder.mkdir(parents=True)
    for i in range(5):
        (folder / f".{100 + i}-{i}-0-0-abcdefg{i}.part.wav").write_bytes(b"RIFF")
    with Server() as server:
        urbansound8k.stream(tmp_path, 5, server.url, progress=False)
    assert len(open_folder(tmp_path).clips) == 5 and not list(tmp_path.rglob("*.part.wav"))


@pytest.mark.parametrize(
    "evil",
    [
        ("../outside.wav", b"x"),
        ("/tmp/outside.wav", b"x"),
        ("UrbanSound8K/link", b"", tarfile.SYMTYPE, "/etc/passwd"),
    ],
)
def test_an_archive_that_leaves_its_folder_is_not_unpacked(tmp_path, evil):
    archive = make_archive([evil])
    root = tmp_path / "root"
    with Server(archive) as server:
        if evil[0].startswith("/"):  # the data filter strips the leading slash
            download(root, server, archive)
        else:
            with pytest.raises(DownloadError, match="cannot be unpacked"):
                download(root, server, archive)
    assert [p.name for p in tmp_path.iterdir()] == ["root"]
    assert not (tmp_path / "outside.wav").exists()


# --- the first clips only ---------------------------------------------------------------------------------------------


def test_streaming_stops_once_enough_clips_are_out(tmp_path):
    with Server() as server:
        folder = urbansound8k.stream(tmp_path, 5, server.url, progress=False)
    dataset = open_folder(folder)
    assert len(dataset.clips) == 5 and dataset.clips["start"].isna().all()
    assert dataset.clips["fold"].tolist() == [NAMES[i][1] for i in (0, 3, 1, 4, 2)]
    assert dataset.clips["duration"].eq(0.5).all() and dataset.taxonomy.n_classes == 10


def test_streaming_the_whole_archive_brings_the_table(tmp_path):
    with Server() as server:
        urbansound8k.stream(tmp_path, 10_000, server.url, progress=False)
    assert open_folder(tmp_path).clips["start"].eq(0).all() and len(open_folder(tmp_path).clips) == 20


def test_streaming_again_counts_what_is_there(tmp_path):
    with Server() as server:
        urbansound8k.stream(tmp_path, 5, server.url, progress=False)
        urbansound8k.stream(tmp_path, 5, server.url, progress=False)
        assert len(server.requests) == 1
        urbansound8k.stream(tmp_path, 8, server.url, progress=False)
    assert len(open_folder(tmp_path).clips) == 8


def test_a_stream_that_breaks_off_keeps_whole_clips_only(tmp_path):
    with Server(cuts=[100_000]) as server, pytest.raises(DownloadError, match="clips are out and stay"):
        urbansound8k.stream(tmp_path, 20, server.url, progress=False)
    clips = open_folder(tmp_path).clips
    assert 1 <= len(clips) < 20 and clips["duration"].eq(0.5).all()
    assert not list(tmp_path.rglob("*.part*"))
    with Server() as server:
        urbansound8k.stream(tmp_path, 20, server.url, progress=False)
    assert len(open_folder(tmp_path).clips) == 20


def test_streaming_takes_nothing_but_clips_and_the_table(tmp_path):
    evil = [
        ("UrbanSound8K/../../outside.wav", b"x"),
        ("UrbanSound8K/audio/fold1/run.sh", b"x"),
        ("UrbanSound8K/audio/fold1/link.wav", b"", tarfile.SYMTYPE, "/etc/passwd"),
    ]
    root = tmp_path / "root"
    with Server(make_archive(evil)) as server:
        urbansound8k.stream(root, 10_000, server.url, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["root"]
    assert {p.suffix for p in root.rglob("*") if p.is_file()} == {".wav", ".csv"} and len(
        list(root.rglob("*.wav"))
    ) == 20
