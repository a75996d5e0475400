import pytest

from course_utils.files import build_beside, write_beside, write_json


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
