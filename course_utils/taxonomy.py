"""The classes, label sets, and combinations as one coding of label sets with one or two classes.

A clip or a mixture carries a *label set*: any number of the `n` classes, or none. It is written down

- as a *multi-hot* vector of n zeros and ones, which is what networks are trained on;
- as a *set name*, the names of its classes joined by ` + `: `dog_bark + siren`, `siren`, or nothing for the empty set.

A set of one or two classes, such as that of a mixture of two clips with one class each, has two more codings:

- a *pair* of class IDs, unordered, equal for two clips of one class;
- a *combination ID* from 0 to n(n+1)/2 − 1, one number per pair: (0, 0), (0, 1) … (0, n−1), (1, 1) ….
"""

from __future__ import annotations

from collections.abc import Iterable
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
JOINS = " + "  # the names of the classes of a set


@dataclass(frozen=True)
class Taxonomy:
    """Class names in the order of their IDs; UrbanSound8K's ten unless told otherwise.

    Args:
        classes: The class names; the position of a name is its class ID.

    Raises:
        ValueError: If there is no class, or a name is empty, given twice, or holds the ` + ` that joins names.

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
        joined = [name for name in self.classes if JOINS in name]
        if joined:
            raise ValueError(f"a class name may not hold {JOINS!r}, which joins names: {joined[0]!r}")

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
        if not np.all(self.has_combination(rows)):
            raise ValueError("a combination is a set of one or two classes: one or two ones, and otherwise zeros")
        low = rows.argmax(axis=-1)
        high = self.n_classes - 1 - rows[..., ::-1].argmax(axis=-1)
        return self.combination_id(low, high)

    def has_combination(self, multi_hot: ArrayLike) -> np.ndarray:
        """Say which label sets are combinations: those of one or two classes.

        Args:
            multi_hot: Zeros and ones, shape `[..., n_classes]`.

        Returns:
            Booleans, shape `[...]`.

        Raises:
            ValueError: If a vector has another length, or holds anything but zeros and ones.

        Example:
            >>> Taxonomy(("dog", "siren", "rain")).has_combination([[0, 1, 0], [1, 1, 1], [0, 0, 0]])
            array([ True, False, False])
        """
        return np.isin(self._zeros_and_ones(multi_hot).sum(axis=-1), (1, 2))

    def set_name(self, multi_hot: ArrayLike) -> str:
        """Return the name of one label set: the names of its classes joined by ` + `, or nothing for the empty set.

        Args:
            multi_hot: Zeros and ones, `[n_classes]`.

        Raises:
            ValueError: If the vector has another shape, or holds anything but zeros and ones.

        Example:
            >>> Taxonomy(("dog", "siren", "rain")).set_name([1, 0, 1])
            'dog + rain'
        """
        row = self._zeros_and_ones(multi_hot)
        if row.ndim != 1:
            raise ValueError(f"one label set is [{self.n_classes}], not {list(row.shape)}")
        return JOINS.join(self.classes[i] for i in np.flatnonzero(row))

    def from_set_names(self, names: Iterable[str]) -> np.ndarray:
        """Return the multi-hot vectors of label sets, given by name as `set_name` gives it, in whichever order.

        Args:
            names: One name per set.

        Returns:
            float32 `[N, n_classes]`.

        Raises:
            ValueError: If a name holds a class that is not one of the taxonomy.

        Example:
            >>> Taxonomy(("dog", "siren", "rain")).from_set_names(["rain + dog", ""])
            array([[1., 0., 1.],
                   [0., 0., 0.]], dtype=float32)
        """
        sets = list(names)
        rows, known = (
            np.zeros((len(sets), self.n_classes), np.float32),
            {name: i for i, name in enumerate(self.classes)},
        )
        for row, name in zip(rows, sets, strict=True):
            for label in name.split(JOINS) if name else ():
                row[known[label] if label in known else self.class_id(label)] = 1
        return rows

    def name(self, combination: int) -> str:
        """Return a readable name: `dog_bark + siren`, or `siren + siren` for two clips of one class.

        Raises:
            ValueError: If it is not one combination ID; the name of a label set is `set_name`'s.
        """
        if np.ndim(combination):
            raise ValueError("a combination ID is one number; set_name gives the name of a label set")
        return JOINS.join(self.classes[i] for i in self.pair(combination))

    def from_name(self, name: str) -> int:
        """Return the combination ID of a name that `name` gave, or of its two classes in the other order.

        Raises:
            ValueError: If the name is not two known classes joined by ` + `.
        """
        parts = name.split(JOINS)
        if len(parts) != 2:
            raise ValueError(f"{name!r} is not two class names joined by {JOINS!r}")
        return int(self.combination_id(self.class_id(parts[0]), self.class_id(parts[1])))

    def _zeros_and_ones(self, multi_hot: ArrayLike) -> np.ndarray:
        rows = np.asarray(multi_hot)
        if rows.shape[-1:] != (self.n_classes,):
            raise ValueError(
                f"a multi-hot vector has {self.n_classes} entries, not {rows.shape[-1] if rows.ndim else 1}"
            )
        if not np.all(np.isin(rows, (0, 1))):
            raise ValueError("a multi-hot vector holds zeros and ones and nothing else")
        return rows

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
