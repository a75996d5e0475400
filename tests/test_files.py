import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from course_utils import datasets, files
from course_utils.files import build_beside, write_beside, write_json

KINDS = [*datasets.kinds(), files.SCRATCH]


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError), write_beside(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert target.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_the_new_file_replaces_the_old_one(tmp_path):
    write_json(tmp_path / "deep" / "a.json", {"a": 1})
    write_json(tmp_path / "deep" / "a.json", {"a": 2})
    assert '"a": 2' in (tmp_path / "deep" / "a.json").read_text(encoding="utf-8")
    assert len(list((tmp_path / "deep").iterdir())) == 1


def test_an_error_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError), build_beside(tmp_path / "set") as partial:
        (partial / "file").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_builders_wins(tmp_path):
    with build_beside(tmp_path / "set") as second:
        (second / "file").write_text("second")
        with build_beside(tmp_path / "set") as first:
            (first / "file").write_text("first")
    assert (tmp_path / "set" / "file").read_text(encoding="utf-8") == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_others_may_read_what_is_written(tmp_path):
    """What is written to is the writer's own; the umask of a lecturer who shares a cache does not matter."""
    before = os.umask(0o077)
    try:
        with write_beside(tmp_path / "table.csv") as partial:
            assert mode(partial) == 0o600
        with build_beside(tmp_path / "set") as partial:
            assert mode(partial) == 0o700
        write_json(tmp_path / "a.json", 1)
    finally:
        os.umask(before)
    assert mode(tmp_path / "table.csv") == mode(tmp_path / "a.json") == 0o644
    assert mode(tmp_path / "set") == 0o755


def test_what_is_being_written_lies_beside_under_a_hidden_name(tmp_path):
    with write_beside(tmp_path / "deep" / "table.csv") as partial:
        assert partial.parent == tmp_path / "deep"
        assert re.fullmatch(r"\.table-\w{8}\.part\.csv", partial.name)
    with build_beside(tmp_path / "deeper" / "set.v1") as partial:
        assert partial.parent == tmp_path / "deeper"
        assert re.fullmatch(r"\.set\.v1-\w{8}\.part", partial.name)


def test_json_is_indented_and_ends_with_one_line_feed(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, "ü"]})
    assert (tmp_path / "a.json").read_bytes() == b'{\n  "a": [\n    1,\n    "\\u00fc"\n  ]\n}\n'


def test_numbers_keep_five_digits():
    value = {"a": [0.123456789, 123456.789], "b": {"c": -1.00000001}, "d": 1234567, "e": "0.123456789", "f": None}
    expected = {"a": [0.12346, 123460.0], "b": {"c": -1.0}, "d": 1234567, "e": "0.123456789", "f": None}
    assert files.rounded(value) == expected and isinstance(files.rounded(value)["d"], int)


def test_room_is_what_is_free_and_what_is_replaced(tmp_path, monkeypatch):
    asked = []

    def disk_usage(place):
        asked.append(place)
        return SimpleNamespace(free=5e6)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    files.need_room(tmp_path / "not" / "there", 5e6)
    files.need_room(tmp_path, 8e6, to_be_replaced=3e6)
    assert asked == [tmp_path, tmp_path]
    with pytest.raises(files.NoRoomError) as caught:
        files.need_room(tmp_path, 9e6, to_be_replaced=3e6)
    assert str(caught.value).startswith(f"{tmp_path}: up to 9 MB needed, 8 MB free; free some disk, or choose another")


def test_the_cache_folder_is_one_place_wherever_one_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", "~/somewhere")
    assert files.cache_folder() == Path.home() / "somewhere"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURSE_CACHE", "here")
    assert files.cache_folder() == tmp_path / "here"
    monkeypatch.setenv("COURSE_CACHE", "")
    assert files.cache_folder().name == "course-utils"


# --- The folders of lessons -----------------------------------------------------------------------------------------


def test_a_new_folder_is_empty_and_below_the_cache(own_cache):
    one, two = files.new_folder(), files.new_folder()
    assert one != two and one.parent == two.parent == own_cache / "lessons"
    assert list(one.iterdir()) == list(two.iterdir()) == []


MAKE = """
from course_utils import files
folder = files.new_folder()
(folder / "run.pt").write_text("x")
print(folder, flush=True)
input()
"""


def test_a_folder_goes_once_its_process_has_ended(own_cache):
    """Also when it was killed; while it runs, another lesson leaves it alone."""
    first, second = (
        subprocess.Popen([sys.executable, "-c", MAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    )
    ended, killed = (Path(process.stdout.readline().strip()) for process in (first, second))
    here = files.new_folder()
    assert (ended / "run.pt").is_file() and (killed / "run.pt").is_file()
    first.communicate("\n")
    second.kill()
    second.communicate()
    again = files.new_folder()
    locks = {path.with_suffix(".lock") for path in (here, again)}
    assert set((own_cache / "lessons").iterdir()) == {here, again} | locks


def test_folders_of_others_stay(own_cache):
    fill(own_cache, ["lessons/monday/plan.docx", "lessons/0123abcd/last.pt"])
    new = files.new_folder()
    assert {path.name for path in new.parent.iterdir() if path.is_dir()} == {"monday", new.name}


def test_a_cache_that_cannot_be_written_to_is_no_hindrance(own_cache):
    (own_cache / "lessons").write_text("no folder")
    folder = files.new_folder()
    assert folder.is_dir() and not folder.is_relative_to(own_cache)
    folder.rmdir()


# --- What is in the cache folder ------------------------------------------------------------------------------------


def fill(root: Path, names: list[str]) -> None:
    """Make these files of ten bytes each; the parts of a name before a slash are folders."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"0123456789")


OURS = [
    "mini-v1/audio/fold1/a.wav",
    "mini-v1/metadata/UrbanSound8K.csv",
    "mini-v0/audio/fold1/a.wav",
    ".mini-v1-ab_d1234.part/audio/fold1/a.wav",
    "decoded/0123abcd-0123456789abcdef/samples.float32",
    "decoded/.0123abcd-0123456789abcdef-ab_d1234.part/samples.float32",
    "lessons/0123abcd/last.pt",
    "lessons/0123abcd.lock",
]
DOWNLOADED = [
    "urbansound8k/UrbanSound8K/audio/fold1/a.wav",
    "urbansound8k/UrbanSound8K.tar.gz",
    "urbansound8k/UrbanSound8K.tar.gz.part",
    "urbansound8k/.UrbanSound8K-whole-ab_d1234.part/UrbanSound8K/README.txt",
]
FOREIGN = [
    "notes.txt",
    "mini/a.wav",
    "mini-v1-of-mine/a.wav",
    "decoded/mine/a.wav",
    "lessons/plan.docx",
    "lessons/monday/plan.docx",
    "urbansound8k/mine.csv",
    "urbansound8k/ESC-50/a.wav",
]


def everything(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


def test_what_the_course_put_there_is_told_from_all_else(own_cache):
    fill(own_cache, OURS + DOWNLOADED + FOREIGN)
    kinds, others = files.cached(KINDS)
    assert {kind.name.split()[0]: kind.size for kind in kinds} == {
        **{"mini,": 40, "decoded": 20, "what": 20, "UrbanSound8K,": 40},
    }
    there = {path.relative_to(own_cache).as_posix() for path in others}
    assert there == {"/".join(name.split("/")[: 2 if name[0] in "dlu" else 1]) for name in FOREIGN}
    for kind in kinds:
        files.delete_cached(kind)
    assert everything(own_cache) == set(FOREIGN) and files.cached(KINDS) == ([], others)


def test_an_emptied_folder_is_empty(own_cache):
    fill(own_cache, OURS + DOWNLOADED)
    for kind in files.cached(KINDS)[0]:
        files.delete_cached(kind)
    assert list(own_cache.iterdir()) == []


def test_nothing_there_is_nothing(own_cache, monkeypatch):
    assert files.cached(KINDS) == ([], [])
    monkeypatch.setenv("COURSE_CACHE", str(own_cache / "not" / "there"))
    assert files.cached(KINDS) == ([], [])


def test_links_are_not_followed(own_cache, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    fill(elsewhere, ["UrbanSound8K/audio/a.wav", "0123abcd-0123456789abcdef/samples.float32", "a.wav"])
    fill(own_cache, ["mini-v1/audio/fold1/a.wav", "decoded/mine"])
    try:
        (own_cache / "urbansound8k").symlink_to(elsewhere)
    except OSError:
        pytest.skip("no links here")
    (own_cache / "mini-v2").symlink_to(elsewhere)
    (own_cache / "decoded" / "0123abcd-0123456789abcdef").symlink_to(elsewhere / "0123abcd-0123456789abcdef")
    (own_cache / "mini-v1" / "audio" / "fold2").symlink_to(elsewhere)
    (own_cache / "mini-v1" / "audio" / "b.wav").symlink_to(elsewhere / "a.wav")
    kinds, others = files.cached(KINDS)
    assert [kind.paths for kind in kinds] == [(own_cache / "mini-v1",)] and kinds[0].size < 1000 and len(others) == 4
    files.delete_cached(kinds[0])
    assert len(everything(elsewhere)) == 3 and not (own_cache / "mini-v1").exists()
    assert (own_cache / "urbansound8k").is_symlink() and (own_cache / "mini-v2").is_symlink()


def test_an_interrupted_deletion_leaves_nothing_that_looks_whole(own_cache, monkeypatch):
    fill(own_cache, OURS)

    def interrupted(path):
        os.unlink(next(file for file in Path(path).rglob("*") if file.is_file()))
        raise KeyboardInterrupt

    kinds, _ = files.cached(KINDS)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", interrupted)
        files.delete_cached(kinds[0])
    for kind in files.cached(KINDS)[0]:  # the half, too, is known for the course's
        files.delete_cached(kind)
    assert list(own_cache.iterdir()) == []


def test_the_patterns_fit_what_is_really_written(own_cache, cache):
    """`cache` has decoded a data set; half-built folders are there while they are built."""
    files.new_folder()
    release = datasets.default_root("urbansound8k") / "UrbanSound8K"
    decoded = cache.folder.with_name("0123abcd-0123456789abcdef")
    with build_beside(datasets.default_root("mini")), build_beside(f"{release}-whole"), build_beside(decoded):
        kinds, others = files.cached(KINDS)
        assert [len(kind.paths) for kind in kinds] == [1, 2, 1, 2] and others == []
    release.mkdir()
    assert [len(kind.paths) for kind in files.cached(KINDS)[0]] == [1, 2, 2, 2] and files.cached(KINDS)[1] == []


def test_sizes_in_words():
    sizes = (0, 96.4e6, 999e6, 1e9, 6.6e9, 1234e9)
    assert [files.in_words(size) for size in sizes] == ["0 MB", "96 MB", "999 MB", "1.0 GB", "6.6 GB", "1,234.0 GB"]


def test_an_interruption_while_a_lock_is_taken_away_leaves_no_lock(tmp_path, monkeypatch):
    def interrupted(*_arguments, **_keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "_PATIENCE", 0.2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", interrupted)
        # As long as the exception is kept, so is the lock's object, which would give it back when it goes.
        with pytest.raises(KeyboardInterrupt) as kept, files.alone_in(tmp_path / "set", "writes"):
            pass
    with files.alone_in(tmp_path / "set", "writes"):
        pass
    assert kept.value is not None
