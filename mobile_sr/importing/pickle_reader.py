"""Reads the pickles that PyTorch writes without unpickling: no name in them is ever imported, no object of theirs made.

A pickle is a program for a stack machine. This one knows the operations that build plain containers, and of the functions that
a pickle may name only those in `call`; everything else is refused before anything of it happened.
"""

import pickletools

_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_VALUES = {  # operations that push their argument
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "STRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_PUT, _GET = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Name(str):
    """A name 'module.name' that a pickle refers to."""


def read(file, call, persistent=None):
    """The value of the pickle that a binary file goes on with; the file is left behind it.

    Args:
        call: function(Name, tuple of arguments) -> value, for what the pickle wants called; raises ValueError to refuse.
        persistent: function(id) -> value, for references out of the pickle.
    Raises: ValueError for what is refused or no pickle; whatever a damaged pickle makes Python raise.
    """
    stack, memo = [], {}

    def to_mark():
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
            items = tuple(stack[-_TUPLES[name] :])
            stack[-_TUPLES[name] :] = [items]
        elif name in ("TUPLE", "LIST"):
            items = to_mark()
            stack.append(tuple(items) if name == "TUPLE" else items)
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else to_mark()
            _container(stack[-1], list).extend(items)
        elif name in ("DICT", "SETITEM", "SETITEMS"):
            items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else to_mark()
            if name == "DICT":
                stack.append({})
            _container(stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))
        elif name == "GLOBAL":
            stack.append(Name(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            last = stack.pop()
            stack.append(Name(f"{stack.pop()}.{last}"))
        elif name == "BINPERSID" and persistent:
            stack.append(persistent(stack.pop()))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            if not isinstance(function, Name) or not isinstance(arguments, tuple):
                raise ValueError("it calls what is no function")
            stack.append(call(function, arguments))
        elif name == "BUILD" and isinstance(stack[-2], dict):  # attributes of an OrderedDict, such as PyTorch's _metadata
            stack.pop()
        else:
            raise ValueError(f"it has the pickle operation {name}; only tensors in plain containers are read")
    raise ValueError("it ends in the middle")


def _container(value, kind):
    if type(value) is not kind:
        raise ValueError(f"it fills a {type(value).__name__} as if it were a {kind.__name__}")
    return value
