"""What the tests and the kernel with a student's answers say to each other.

The tests run in a process that no student's code gets into. There, a student's function is a `Remote`: calling it asks the
student's kernel, and what it gives back comes as plain data: numbers, texts, lists, arrays, tensors, tables. They are built
again from JSON, so that none of them can behave otherwise than what it is. What is none of these, such as a network, stays in
the kernel, and a `Remote` stands for it; what that gives back must be data.

Questions go the other way as pickles: what comes from the tests can be trusted.
"""

from __future__ import annotations

import base64
import builtins
import io
import json
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch

MIME = "application/vnd.course.answer"  # of an answer among what a cell puts out
PLAIN = "biufcSUmM"  # kinds of arrays that hold nothing but their numbers or texts
GIVEN = "given"  # the module of classes that the notebook itself defines
_kept: dict[int, Any] = {}  # what stays in the kernel, by its `id`


# --- In the student's kernel -----------------------------------------------------------------------------------------


def answer(question: str) -> None:
    """Answer a question of the tests, which is in a file."""
    from IPython.display import display

    try:
        with open(question, "rb") as file:
            asked = pickle.load(file)
        if asked["seed"] is not None:
            torch.manual_seed(asked["seed"])
        before = encode(asked["arguments"])
        said = {"value": encode(looked_up(asked))}
        if (after := encode(asked["arguments"])) != before:
            said["arguments"] = after
    except KeyboardInterrupt:  # the time is over
        raise
    except BaseException as error:
        kind = next(base for base in type(error).__mro__ if base.__module__ == "builtins")
        said = {"error": [kind.__name__, str(error)]}
    display({MIME: json.dumps(said)}, raw=True)


def looked_up(asked: dict[str, Any]) -> Any:
    """Return what is asked for: an attribute of something, or what a call of it gives back."""
    found = resolve(asked["what"])
    if asked["attribute"]:
        return getattr(found, asked["attribute"])
    with torch.set_grad_enabled(asked["grad"]):
        return found(*asked["arguments"], **asked["keywords"])


def resolve(what: str | int) -> Any:
    """Return what the tests name: a variable of the notebook, or something that was kept."""
    if isinstance(what, int):
        return _kept[what]
    variables = get_ipython().user_ns  # noqa: F821 - IPython's own
    if what not in variables:
        raise NameError(f"name {what!r} is not defined")
    return variables[what]


def made(name: str) -> Any:
    """Make an object of a class of the notebook."""
    return resolve(name)()


def encode(value: Any) -> Any:
    """Return a value as JSON can hold it: what is not plain data is kept, and a number stands for it."""
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.kind in PLAIN:
            kind = "array" if isinstance(value, np.ndarray) else "scalar"
            return {kind: [value.dtype.str, list(value.shape), text_of(value.tobytes())]}
        if value.dtype == object and isinstance(value, np.ndarray):
            return {"objects": [list(value.shape), [encode(one) for one in value.ravel()]]}
    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu().contiguous()
        data = plain.reshape(-1).view(torch.uint8).numpy().tobytes()
        kind = str(plain.dtype).removeprefix("torch.")
        return {"tensor": [kind, list(plain.shape), value.requires_grad, text_of(data)]}
    if isinstance(value, pd.DataFrame):
        columns = [encode(value.iloc[:, i].to_numpy()) for i in range(value.shape[1])]
        return {"table": [encode(list(value.columns)), encode(value.index.to_numpy()), columns]}
    if isinstance(value, pd.Series):
        return {"series": [encode(value.name), encode(value.index.to_numpy()), encode(value.to_numpy())]}
    if isinstance(value, pd.Index):
        return encode(value.to_numpy())
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": text_of(bytes(value))}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(one)] for key, one in value.items()]}
    for plain in (tuple, set, frozenset):
        if isinstance(value, plain):
            return {plain.__name__: [encode(one) for one in value]}
    if isinstance(value, (list, range, Iterator)):
        return {"list": [encode(one) for one in value]}
    if value is None:
        return None
    _kept[id(value)] = value
    return {"kept": id(value)}


def text_of(data: bytes) -> str:
    """Return bytes as text."""
    return base64.b64encode(data).decode("ascii")


# --- In the process of the tests -------------------------------------------------------------------------------------


class Remote:
    """Something in the student's kernel: it can be called, and has attributes."""

    def __init__(self, what: str | int, ask: Callable[[bytes], str]) -> None:
        self._what, self._ask = what, ask

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call it there, and return what it gives back."""
        return asked_for(self, None, list(arguments), keywords)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return asked_for(self, name, [], {})

    def __reduce__(self) -> tuple[Any, ...]:
        return resolve, (self._what,)


class Pickler(pickle.Pickler):
    """Writes questions: tensors without what else lies in their memory, and objects of the notebook's classes as new ones."""

    def reducer_override(self, value: Any) -> Any:
        """Say how a value is built again."""
        if isinstance(value, torch.Tensor):
            return torch.from_numpy, (value.detach().numpy(),)
        if type(value).__module__ == GIVEN:
            return made, (type(value).__name__,)
        return NotImplemented


_seed = torch.initial_seed()


def asked_for(remote: Remote, attribute: str | None, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Ask the student's kernel for an attribute of something, or for what a call of it gives back.

    A seed that was set here since the last question is set there first.
    """
    global _seed
    seed, _seed = _seed, torch.initial_seed()
    file = io.BytesIO()
    question = {"what": remote._what, "attribute": attribute, "arguments": arguments, "keywords": keywords}
    question |= {"grad": torch.is_grad_enabled(), "seed": _seed if _seed != seed else None}
    Pickler(file).dump(question)
    said = json.loads(remote._ask(file.getvalue()))
    if "error" in said:
        name, message = said["error"]
        kind = getattr(builtins, str(name), None)
        if not (isinstance(kind, type) and issubclass(kind, Exception)) or issubclass(kind, UnicodeError):
            kind, message = RuntimeError, f"{name}: {message}"
        raise kind(message)
    if "arguments" in said:
        spoil(arguments, decode(said["arguments"]))
    return decode(said["value"], remote._ask if attribute or isinstance(remote._what, str) else None)


def spoil(ours: Any, theirs: Any) -> None:
    """Fill what was changed in the student's kernel with NaN: a test sees that it was changed, and not into what."""
    if isinstance(ours, list) and isinstance(theirs, list):
        for one, other in zip(ours, theirs, strict=False):
            spoil(one, other)
    elif isinstance(ours, np.ndarray):
        if ours.dtype.kind == "f" and not np.array_equal(ours, theirs, equal_nan=True):
            ours[...] = math.nan
    elif isinstance(ours, torch.Tensor) and ours.is_floating_point() and not same_tensor(ours, theirs):
        ours.data.fill_(math.nan)


def same_tensor(ours: torch.Tensor, theirs: Any) -> bool:
    """Say whether a tensor came back as it went."""
    return isinstance(theirs, torch.Tensor) and theirs.dtype == ours.dtype and torch.equal(ours, theirs)


def decode(data: Any, ask: Callable[[bytes], str] | None = None) -> Any:
    """Build a value from what `encode` has made of it.

    Args:
        data: What came as JSON.
        ask: How to ask about what was kept; without it, that is a thing without any use.
    """
    if data is None or isinstance(data, (bool, int, float, str)):
        return data
    ((kind, body),) = data.items()

    def every(parts: list[Any]) -> list[Any]:
        return [decode(one, ask) for one in parts]

    match kind:
        case "array" | "scalar":
            if (dtype := np.dtype(body[0])).kind not in PLAIN:
                raise ValueError(f"arrays of {dtype} are no kind of answer")
            array = np.ndarray(body[1], dtype, bytearray(base64.b64decode(body[2])))
            return array if kind == "array" else array[()]
        case "objects":
            array = np.empty(len(body[1]), dtype=object)
            array[:] = every(body[1])
            return array.reshape(body[0])
        case "tensor":
            data = bytearray(base64.b64decode(body[3])) or bytearray(16)  # torch takes no empty buffer
            flat = torch.frombuffer(data, dtype=torch.uint8).view(getattr(torch, body[0]))
            return flat[: math.prod(body[1])].reshape(body[1]).requires_grad_(body[2])
        case "table":
            table = pd.DataFrame(dict(enumerate(every(body[2]))), index=decode(body[1]))
            return table.set_axis(decode(body[0]), axis=1)
        case "series":
            return pd.Series(decode(body[2]), index=decode(body[1]), name=decode(body[0]))
        case "complex":
            return complex(*body)
        case "bytes":
            return base64.b64decode(body)
        case "dict":
            return {decode(key, ask): decode(one, ask) for key, one in body}
        case "list" | "tuple" | "set" | "frozenset":
            return getattr(builtins, kind)(every(body))
        case "kept":
            return Remote(int(body), ask) if ask else object()
    raise ValueError(f"{kind} is not a kind of answer")
