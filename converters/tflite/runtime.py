"""Opens interpreters of .tflite files: the only module that creates one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter


def create_interpreter(data: bytes, threads: int = 1, delegate: bool = True, keep: bool = False) -> Interpreter:
    """Creates an ai_edge_litert Interpreter. Its tensors are not allocated yet.

    Parse the bytes with `flatbuffer.parse` first: it refuses damaged files before native code reads them.

    Args:
        data: the bytes of a .tflite file.
        threads: CPU threads.
        delegate: whether XNNPACK is used.
        keep: keep the values of all tensors; the runtime otherwise reuses their memory.

    Raises:
        ValueError, RuntimeError: the runtime refuses the file, for example because of an operator that it lacks.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(
        model_content=data,
        num_threads=threads,
        experimental_op_resolver_type=kind,
        experimental_preserve_all_tensors=keep,
    )
