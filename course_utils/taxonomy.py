"""The classes, their combinations, and the ways to write down which of them are in a mixture.

A mixture of two clips carries one or two of `n` classes. It is written down in three ways:

- as a *pair* of class IDs, unordered, equal for two clips of one class;
- as a *combination ID* from 0 to n(n+1)/2 − 1, one number per pair: (0, 0), (0, 1) … (0, n−1), (1, 1) …;
- as a *multi-hot* vector of n zeros and ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

URBANSOUND8K_CLASSES = (
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
)


@dataclass(frozen=True)
class Taxonomy:
    """Class names in the order of their IDs; UrbanSound8K's ten unless told otherwise.

    Args:
        classes: The class names; the position of a name is its class ID.

    Raises:
        ValueError: If there is no class, or a name is empty or given twice.

    Lesson: 05_dataset_mixing
    """

    classes: tuple[str, ...] = URBANSOUND8K_CLASSES

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if not self.classes:
            raise ValueError("a taxonomy needs at least one class")
        doubled = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if doubled or "" in self.classes:
            raise ValueError(f"class names must be there and differ; given twice or empty: {doubled or ['']}")

    @property
    def n_classes(self) -> int:
        """Number of classes, n."""
        return len(self.classes)

    @property
    def n_combinations(self) -> int:
        """Number of unordered pairs, n(n+1)/2: 55 for ten classes."""
        return self.n_classes * (self.n_classes + 1) // 2

    @cached_property
    def pairs(self) -> np.ndarray:
        """Class IDs of every combination, int64 `[n_combinations, 2]`, the smaller first."""
        return np.stack(np.triu_indices(self.n_classes), axis=1).astype(np.int64)

    @cached_property
    def membership(self) -> np.ndarray:
        """Multi-hot vector of every combination, float32 `[n_combinations, n_classes]`."""
        rows = np.zeros((self.n_combinations, self.n_classes), np.float32)
        np.put_along_axis(rows, self.pairs, 1, axis=1)
        return rows

    def class_id(self, name: str) -> int:
        """Return the class ID of a class name.

        Raises:
            ValueError: If there is no such class.
        """
        if name not in self.classes:
            raise ValueError(f"no class {name!r}; the classes are {', '.join(self.classes)}")
        return self.classes.index(name)

    def combination_id(self, first: ArrayLike, second: ArrayLike) -> np.ndarray:
        """Return the combination ID of pairs of class IDs, in whichever order.

        Args:
            first: Class IDs, any shape.
            second: Class IDs, the same shape.

        Returns:
            Combination IDs, int64, the same shape.

        Raises:
            ValueError: If a class ID is not a whole number in 0 … n−1.
        """
        first, second = (whole(ids, "class IDs") for ids in (first, second))
        low, high = np.minimum(first, second), np.maximum(first, second)
        if np.any(low < 0) or np.any(high >= self.n_classes):
            raise ValueError(f"class IDs go from 0 to {self.n_classes - 1}; got {low.min()} … {high.max()}")
        # Row `low` of the triangle starts after the rows above it, of n, n−1, … entries.
        return low * self.n_classes - low * (low - 1) // 2 + high - low

    def pair(self, combination: ArrayLike) -> np.ndarray:
        """Return the two class IDs of combination IDs: int64, shape `[..., 2]`, the smaller first.

        Raises:
            ValueError: If a combination ID is not in 0 … n_combinations−1.
        """
        return self.pairs[self._checked(combination)]

    def multi_hot(self, combination: ArrayLike) -> np.ndarray:
        """Return the multi-hot vectors of combination IDs: float32, shape `[..., n_classes]`.

        Raises:
            ValueError: If a combination ID is not in 0 … n_combinations−1.
        """
        return self.membership[self._checked(combination)]

    def from_multi_hot(self, multi_hot: ArrayLike) -> np.ndarray:
        """Return the combination IDs of multi-hot vectors with one or two ones each.

        Args:
            multi_hot: Zeros and ones, shape `[..., n_classes]`.

        Returns:
            Combination IDs, int64, shape `[...]`.

        Raises:
            ValueError: If a vector has another length, or does not hold one or two ones and otherwise zeros.
        """
        rows = np.asarray(multi_hot)
        if rows.shape[-1] != self.n_classes:
            raise ValueError(f"a multi-hot vector has {self.n_classes} entries, not {rows.shape[-1]}")
        ones = (rows == 1).sum(axis=-1)
        if not np.all(np.isin(rows, (0, 1))) or np.any(ones < 1) or np.any(ones > 2):
            raise ValueError("a mixture of two clips has one or two classes: one or two ones, and zeros")
        low = rows.argmax(axis=-1)
        high = self.n_classes - 1 - rows[..., ::-1].argmax(axis=-1)
        return self.combination_id(low, high)

    def name(self, combination: int) -> str:
        """Return a readable name: `dog_bark + siren`, or `siren + siren` for two clips of one class."""
        return " + ".join(self.classes[i] for i in self.pair(combination))

    def from_name(self, name: str) -> int:
        """Return the combination ID of a name that `name` gave, or of its two classes in the other order.

        Raises:
            ValueError: If the name is not two known classes joined by ` + `.
        """
        parts = name.split(" + ")
        if len(parts) != 2:
            raise ValueError(f"{name!r} is not two class names joined by ' + '")
        return int(self.combination_id(self.class_id(parts[0]), self.class_id(parts[1])))

    def _checked(self, combination: ArrayLike) -> np.ndarray:
        combination = whole(combination, "combination IDs")
        if np.any(combination < 0) or np.any(combination >= self.n_combinations):
            raise ValueError(f"combination IDs go from 0 to {self.n_combinations - 1}; got {combination.tolist()}")
        return combination


def whole(values: ArrayLike, name: str) -> np.ndarray:
    """Return whole numbers as int64, any shape.

    Args:
        values: The numbers.
        name: What they are, for the message.

    Raises:
        ValueError: If one of them is not a whole number.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biu" and not (array.dtype.kind == "f" and (array % 1 == 0).all()):
        raise ValueError(f"{name} must be whole numbers, not {array.dtype} {array.shape}")
    return array.astype(np.int64)
