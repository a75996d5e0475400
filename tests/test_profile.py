import pytest

from course_utils.lessons import profile
from course_utils.lessons.profile import Profile


def test_a_lesson_is_small_and_on_the_cpu():
    lesson = Profile("lesson", "mini")
    assert (lesson.is_full, lesson.accelerator, lesson.pick(lesson=4, full=64)) == (False, "cpu", 4)


def test_full_size_takes_what_is_there():
    full = Profile("full", "mini")
    assert (full.is_full, full.accelerator, full.pick(lesson=4, full=64)) == (True, "auto", 64)


@pytest.mark.parametrize(
    ("size", "data", "found", "says"),
    [
        (None, None, Profile("lesson", "mini"), "on the CPU, as a GPU gains nothing at this size"),
        ("lesson", "folder", Profile("lesson", "folder"), "on the CPU, as a GPU gains nothing at this size"),
        ("full", None, Profile("full", "mini"), "on a GPU if there is one"),
    ],
)
def test_the_environment_decides_and_is_said(monkeypatch, capsys, size, data, found, says):
    for name, value in (("COURSE_SIZE", size), ("COURSE_DATA", data)):
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    assert profile.current() == found
    assert capsys.readouterr().out == f"size: {found.size}, data: {found.data}, training {says}\n"


@pytest.mark.parametrize("size", ["", "Full", "small"])
def test_another_size_is_refused(monkeypatch, size):
    monkeypatch.setenv("COURSE_SIZE", size)
    with pytest.raises(ValueError, match=f"^COURSE_SIZE is 'lesson' or 'full', not '{size}'$"):
        profile.current()
