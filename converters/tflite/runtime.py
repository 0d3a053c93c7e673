"""Opens interpreters of .tflite files, and tells which nodes the delegate runs: the only module that creates one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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


def delegated(ops: Sequence[Mapping[str, Any]]) -> tuple[int, set[int], dict[int, Mapping[str, Any]]]:
    """Determines which nodes of an allocated interpreter's graph the delegate runs.

    Args:
        ops: the nodes, as `Interpreter._get_ops_details` returns them.

    Returns:
        (partitions, indices of the delegated nodes, {index: node} of all nodes).

    The runtime keeps the replaced nodes in its list and adds one DELEGATE node per partition, bounded by that node's inputs
    and outputs. The delegated nodes are those on the paths from its outputs back to its inputs.
    """
    delegates = [op for op in ops if op["op_name"] == "DELEGATE"]
    nodes = {op["index"]: op for op in ops if op["op_name"] != "DELEGATE"}
    producer = {int(tensor): index for index, op in nodes.items() for tensor in op["outputs"]}
    result = set()
    for delegate in delegates:
        bounds = {int(tensor) for tensor in delegate["inputs"]}
        waiting = [int(tensor) for tensor in delegate["outputs"]]
        while waiting:
            tensor = waiting.pop()
            index = producer.get(tensor)
            if tensor not in bounds and index is not None and index not in result:
                result.add(index)
                waiting += [int(tensor) for tensor in nodes[index]["inputs"]]
    return len(delegates), result, nodes
