"""What tests and the student's kernel say to each other: plain data arrive as they were, and nothing else arrives."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
import samples
import torch

sys.path.insert(0, str(samples.ASSIGNMENTS))
import exchange


def sent(value):
    """A value after its way from the student's kernel to the tests."""
    return exchange.decode(json.loads(json.dumps(exchange.encode(value))))


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, -2.5, math.inf, "word", 1 + 2j, b"bytes", 10**30),
        *([1, [2.0, "a"]], (1, (2,)), {1, 2}, frozenset("ab"), {"a": [1], 2: None}, []),
        *(np.float32(0.5), np.int64(3), np.bool_(True)),
    ],
)
def test_plain_values_arrive_as_they_were(value):
    assert sent(value) == value and type(sent(value)) is type(value)


def test_arrays_arrive_as_they_were():
    for array in (
        np.arange(6, dtype=np.int16).reshape(2, 3).T,
        np.zeros((0, 4), np.float32),
        np.array(2.0),
        np.array(["a", "bc"]),
        np.array([1, "a", None], dtype=object),
        np.array([True, False]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
    ):
        other = sent(array)
        assert other.dtype == array.dtype and other.shape == array.shape and (other == array).all()


def test_tensors_arrive_as_they_were():
    for tensor in (
        torch.arange(6).reshape(2, 3).T,
        torch.zeros(0, 4),
        torch.tensor(2.0, dtype=torch.float64),
        torch.ones(2, 2, dtype=torch.bfloat16),
        torch.tensor([1 + 2j]),
        torch.nn.Parameter(torch.ones(3)),
    ):
        other = sent(tensor)
        assert (
            other.dtype == tensor.dtype and torch.equal(other, tensor) and other.requires_grad == tensor.requires_grad
        )


def test_tables_arrive_as_they_were():
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [0.5, math.nan]}, index=[7, 9])
    pd.testing.assert_frame_equal(sent(table), table)
    pd.testing.assert_series_equal(sent(table["c"]), table["c"])
    assert list(sent(pd.DataFrame(columns=["a", "b"]))) == ["a", "b"]


def test_what_lies_about_itself_arrives_as_what_it_is():
    class Float(float):
        def __eq__(self, other):
            return True

    class Array(np.ndarray):
        def __eq__(self, other):
            return np.True_

    assert sent(Float(1)) != 2
    assert type(sent(np.ones(2).view(Array))) is np.ndarray
    assert sent(iter([1, 2])) == [1, 2] and sent(range(2)) == [0, 1]


def test_what_is_no_data_stays_and_only_functions_of_the_notebook_may_give_it_back():
    network = torch.nn.Linear(1, 1)
    kept = exchange.encode(network)
    assert isinstance(exchange.decode(kept, ask=len), exchange.Remote)
    assert type(exchange.decode(kept)) is object
    assert exchange.resolve(kept["kept"]) is network


@pytest.mark.parametrize(
    "data",
    [
        {"array": ["|O", [1], "AAAAAAAAAAA="]},
        {"array": ["<f8", [9], "AAAAAAAAAAA="]},
        {"tensor": ["save", [1], False, "AAAA"]},
        {"module": ["os"]},
        {"list": [1], "more": 2},
    ],
)
def test_what_is_no_answer_is_refused(data):
    with pytest.raises((ValueError, TypeError)):
        exchange.decode(data)


def test_what_was_changed_there_cannot_be_used_here():
    arrays = [np.ones(3), [torch.ones(2)], np.arange(3)]
    exchange.spoil(arrays, [np.ones(3), [torch.zeros(2)], np.zeros(3)])
    assert arrays[0].tolist() == [1, 1, 1] and arrays[1][0].isnan().all() and arrays[2].tolist() == [0, 1, 2]
