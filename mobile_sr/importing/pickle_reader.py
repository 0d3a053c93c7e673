"""Safe reader for the pickles that PyTorch writes: it imports no names and creates no objects from them.

A pickle is a program for a stack machine. This reader implements the operations that build plain containers. Of the
functions that a pickle can name it calls only those that `call` allows. Everything else is refused before it takes effect.
"""

import pickletools
from collections.abc import Callable
from typing import IO, Any

_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, type] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_VALUES = {  # operations that push their argument
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "STRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_PUT, _GET = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Name(str):
    """A name 'module.name' that a pickle refers to."""


def read(file: IO[bytes], call: Callable[[Name, tuple[Any, ...]], Any], persistent: Callable[[Any], Any] | None = None) -> Any:
    """Reads the next pickle of a binary file; the file is then positioned after it.

    Args:
        file: the binary file.
        call: function of (Name, tuple of arguments) that evaluates a call in the pickle, or raises ValueError to refuse it.
        persistent: function of (id) that resolves a reference to data outside of the pickle.

    Returns:
        The value of the pickle.

    Raises:
        ValueError: the pickle is refused, or the file is not a pickle. A damaged pickle can raise any Python exception.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}

    def pop_to_mark() -> list[Any]:
        start = len(stack) - 1 - stack[::-1].index(_MARK)
        items = stack[start + 1 :]
        del stack[start:]
        return items

    for operation, argument, _ in pickletools.genops(file):
        name = operation.name
        if name == "STOP":
            return stack.pop()
        if name in ("PROTO", "FRAME"):
            continue
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name in _PUT:
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in _GET:
            stack.append(memo[argument])
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
        elif name in ("TUPLE", "LIST"):
            items = pop_to_mark()
            stack.append(tuple(items) if name == "TUPLE" else items)
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else pop_to_mark()
            _container(stack[-1], list).extend(items)
        elif name in ("DICT", "SETITEM", "SETITEMS"):
            items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else pop_to_mark()
            if name == "DICT":
                stack.append({})
            _container(stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))
        elif name == "GLOBAL":
            stack.append(Name(str(argument).replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            last = stack.pop()
            stack.append(Name(f"{stack.pop()}.{last}"))
        elif name == "BINPERSID" and persistent:
            stack.append(persistent(stack.pop()))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            if not isinstance(function, Name) or not isinstance(arguments, tuple):
                raise ValueError("it calls something that is not a function")
            stack.append(call(function, arguments))
        elif name == "BUILD" and isinstance(stack[-2], dict):  # attributes of an OrderedDict, such as PyTorch's _metadata
            stack.pop()
        else:
            raise ValueError(f"it has the pickle operation {name}; only tensors in plain containers are supported")
    raise ValueError("it is truncated")


def _container(value: Any, kind: type) -> Any:
    """Returns `value`. Raises ValueError unless it is of that very type."""
    if type(value) is not kind:
        raise ValueError(f"it uses a {type(value).__name__} as a {kind.__name__}")
    return value
