"""One check per exercise: it says what is right, what is off and by how much, and gives a hint; it never raises.

`check_00_1` belongs to exercise 0.1 of lesson 00. Three dots, as the notebooks have them, are "not attempted yet".
"""

from course_utils.lessons.exercises.lesson_00 import check_00_1, check_00_2
from course_utils.lessons.exercises.lesson_01 import check_01_1, check_01_2
from course_utils.lessons.exercises.lesson_02 import check_02_1, check_02_2, check_02_3
from course_utils.lessons.exercises.lesson_03 import check_03_1, check_03_2
from course_utils.lessons.exercises.lesson_04 import check_04_1, check_04_2
from course_utils.lessons.exercises.lesson_05 import check_05_1, check_05_2, check_05_3
from course_utils.lessons.exercises.lesson_06 import check_06_1, check_06_2
from course_utils.lessons.exercises.lesson_07 import check_07_1, check_07_2
from course_utils.lessons.exercises.lesson_08 import check_08_1, check_08_2
from course_utils.lessons.exercises.lesson_09 import check_09_1, check_09_2
from course_utils.lessons.exercises.lesson_10 import check_10_1, check_10_2, check_10_3
from course_utils.lessons.exercises.lesson_11 import check_11_1, check_11_2
from course_utils.lessons.exercises.lesson_12 import check_12_1, check_12_2

__all__ = [
    "check_00_1",
    "check_00_2",
    "check_01_1",
    "check_01_2",
    "check_02_1",
    "check_02_2",
    "check_02_3",
    "check_03_1",
    "check_03_2",
    "check_04_1",
    "check_04_2",
    "check_05_1",
    "check_05_2",
    "check_05_3",
    "check_06_1",
    "check_06_2",
    "check_07_1",
    "check_07_2",
    "check_08_1",
    "check_08_2",
    "check_09_1",
    "check_09_2",
    "check_10_1",
    "check_10_2",
    "check_10_3",
    "check_11_1",
    "check_11_2",
    "check_12_1",
    "check_12_2",
]
