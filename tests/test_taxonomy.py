import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_utils.taxonomy import Taxonomy

sizes = st.integers(1, 30)


def named(n: int) -> Taxonomy:
    return Taxonomy(tuple(f"class {i}" for i in range(n)))


def test_ten_classes_have_55_combinations():
    assert (Taxonomy().n_classes, Taxonomy().n_combinations) == (10, 55)


def test_known_combinations():
    ten = Taxonomy()
    assert ten.combination_id([0, 0, 1, 9], [0, 9, 1, 9]).tolist() == [0, 9, 10, 54]
    assert ten.name(ten.from_name("siren + dog_bark")) == "dog_bark + siren"


@given(sizes)
def test_combination_and_pair_are_inverse(n):
    taxonomy = named(n)
    every = np.arange(taxonomy.n_combinations)
    assert taxonomy.n_combinations == n * (n + 1) // 2
    assert np.array_equal(taxonomy.combination_id(*taxonomy.pair(every).T), every)
    assert len({tuple(p) for p in taxonomy.pair(every).tolist()}) == len(every)


@given(sizes)
def test_multi_hot_and_name_are_inverse(n):
    taxonomy = named(n)
    every = np.arange(taxonomy.n_combinations)
    assert np.array_equal(taxonomy.from_multi_hot(taxonomy.multi_hot(every)), every)
    assert [taxonomy.from_name(taxonomy.name(i)) for i in every] == every.tolist()


@given(st.data(), sizes)
def test_order_within_a_pair_does_not_matter(data, n):
    a, b = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1))
    taxonomy = named(n)
    assert taxonomy.combination_id(a, b) == taxonomy.combination_id(b, a)
    assert taxonomy.pair(taxonomy.combination_id(a, b)).tolist() == sorted((a, b))


@pytest.mark.parametrize("bad", [[-1], [55], [3, 99]])
def test_impossible_combinations_are_refused(bad):
    with pytest.raises(ValueError, match="from 0 to 54"):
        Taxonomy().multi_hot(bad)


@pytest.mark.parametrize("rows", [np.zeros(10), np.ones(10), np.eye(9)[0], np.full(10, 0.5)])
def test_vectors_that_are_no_mixture_of_two_are_refused(rows):
    with pytest.raises(ValueError):
        Taxonomy().from_multi_hot(rows)


def test_classes_must_differ():
    message = "class names must be there and differ; given twice or empty: "
    with pytest.raises(ValueError) as caught:
        Taxonomy(("siren", "bark", "siren", "bark", "horn"))
    assert str(caught.value) == message + "['bark', 'siren']"
    with pytest.raises(ValueError) as caught:
        Taxonomy(("bark", ""))
    assert str(caught.value) == message + "['']"
    with pytest.raises(ValueError, match=r"^a taxonomy needs at least one class$"):
        Taxonomy(())


def test_unknown_class_names_the_known_ones():
    with pytest.raises(ValueError, match=r"^no class 'c'; the classes are a, b$"):
        Taxonomy(["a", "b"]).class_id("c")
    assert Taxonomy(["a", "b"]).class_id("b") == 1


# --- three classes, written out ---------------------------------------------------------------------------------------

ABC = Taxonomy(["a", "b", "c"])
PAIRS = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
MULTI_HOT = [[1, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1], [0, 0, 1]]


def test_all_combinations_of_three_classes():
    assert ABC.classes == ("a", "b", "c") and hash(ABC) == hash(Taxonomy(("a", "b", "c")))
    assert (ABC.n_classes, ABC.n_combinations) == (3, 6)
    assert ABC.pairs.dtype == np.int64 and ABC.pairs.tolist() == [list(pair) for pair in PAIRS]
    assert ABC.membership.dtype == np.float32 and ABC.membership.tolist() == MULTI_HOT
    assert [ABC.name(i) for i in range(6)] == ["a + a", "a + b", "a + c", "b + b", "b + c", "c + c"]
    assert [ABC.from_name(name) for name in ("a + a", "b + a", "c + a", "b + b", "c + b", "c + c")] == list(range(6))


def test_arrays_keep_their_shape_and_are_integers():
    found = ABC.combination_id(np.array([[0.0, 1.0], [2.0, 2.0]]), np.array([[0, 0], [0, 1]], np.int8))
    assert found.dtype == np.int64 and found.tolist() == [[0, 1], [2, 4]]
    assert ABC.pair(np.array([[5.0], [2.0]])).tolist() == [[[2, 2]], [[0, 2]]]
    assert ABC.multi_hot(np.array([[4, 1]], np.uint8)).tolist() == [[[0, 1, 1], [1, 1, 0]]]
    assert ABC.from_multi_hot([[[0, 1, 1], [1, 1, 0]]]).tolist() == [[4, 1]]
    assert ABC.from_multi_hot(np.array([0.0, 0.0, 1.0])) == 5


@pytest.mark.parametrize(("first", "second", "got"), [(0, -1, "-1 … 0"), (3, 0, "0 … 3"), ([1, 0], [3, 1], "0 … 3")])
def test_impossible_class_ids_are_refused(first, second, got):
    with pytest.raises(ValueError, match=f"^class IDs go from 0 to 2; got {got}$"):
        ABC.combination_id(first, second)


def test_impossible_multi_hot_vectors_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"^a multi-hot vector has 3 entries, not 2$"):
        ABC.from_multi_hot([1, 0])
    for wrong in ([1, 1, 1], [0, 0, 0], [[1, 0, 0], [0, 0, 0]]):
        with pytest.raises(ValueError, match=r"^a combination is a set of one or two classes"):
            ABC.from_multi_hot(wrong)
    with pytest.raises(ValueError, match=r"^a multi-hot vector holds zeros and ones and nothing else$"):
        ABC.from_multi_hot([2, 1, 0])


def test_label_sets_have_names_in_the_order_of_the_classes():
    sets = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 1], [1, 1, 1]])
    names = [ABC.set_name(row) for row in sets]
    assert names == ["", "b", "a + c", "a + b + c"]
    assert np.array_equal(ABC.from_set_names(names), sets)
    assert ABC.from_set_names(["c + a"]).tolist() == [[1, 0, 1]]
    assert ABC.has_combination(sets).tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match=r"^no class 'd'; the classes are a, b, c$"):
        ABC.from_set_names(["a + d"])
    with pytest.raises(ValueError, match=r"^a combination ID is one number; set_name gives the name of a label set$"):
        ABC.name(sets[1])
    with pytest.raises(ValueError, match=r"^one label set is \[3\]"):
        ABC.set_name([sets[0]])
    with pytest.raises(ValueError, match=r"^a class name may not hold ' \+ '"):
        Taxonomy(("a + b", "c"))


@pytest.mark.parametrize("name", ["a", "a + b + c", "a+b"])
def test_what_is_no_pair_of_names_is_refused(name):
    with pytest.raises(ValueError) as caught:
        ABC.from_name(name)
    assert str(caught.value) == f"{name!r} is not two class names joined by ' + '"


@pytest.mark.parametrize("ids", [0.5, [1.0, 1.5], np.nan, "dog", None])
def test_ids_are_whole_numbers(ids):
    for call in (
        lambda: Taxonomy().combination_id(ids, 1),
        lambda: Taxonomy().multi_hot(ids),
        lambda: Taxonomy().pair(ids),
    ):
        with pytest.raises(ValueError, match="IDs must be whole numbers"):
            call()
    assert Taxonomy().combination_id(1.0, 2) == Taxonomy().combination_id(1, 2)
