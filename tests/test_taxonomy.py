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
    with pytest.raises(ValueError, match="bark"):
        Taxonomy(("bark", "bark"))
    with pytest.raises(ValueError, match="at least one"):
        Taxonomy(())


def test_unknown_class_names_the_known_ones():
    with pytest.raises(ValueError, match="air_conditioner"):
        Taxonomy().class_id("rooster")
