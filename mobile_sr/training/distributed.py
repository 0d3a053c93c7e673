"""Distributed training on PyTorch: several processes, started by torchrun, train one network.

Each process (rank) computes its share of every batch. gloo or NCCL sums the gradients, and every optimizer applies their
mean, so all ranks keep the same weights. Only rank 0 scores, writes and prints. Without torchrun's environment variables
there is one process and no communication.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError

if TYPE_CHECKING:
    import keras

_T = TypeVar("_T")

# Maximum wait for another rank, which may be decoding images or scoring. The end of a rank closes its connection, which the
# others notice immediately.
_TIMEOUT = datetime.timedelta(hours=2)
_PATIENCE_S = 5  # torchrun polls its processes ten times a second and stops all of them when one has failed
_PR_SET_PDEATHSIG = 1  # constant of Linux's prctl


class Lost(UserError):
    """The connection to another rank is lost, because that rank has ended."""


def processes() -> int:
    """Return the number of processes, as torchrun's environment variables give it; 1 without them."""
    has_variables = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()
    return int(os.environ["WORLD_SIZE"]) if has_variables else 1


def rank() -> int:
    """Return the number of this process among all processes, from 0."""
    return int(os.environ["RANK"]) if processes() > 1 else 0


def _local_rank() -> int:
    """Return the number of this process among those of this machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", 0)) if processes() > 1 else 0


def share(batch: int) -> slice:
    """Return this rank's slice of a batch of `batch` samples.

    Raises:
        UserError: when the batch cannot be split into equal parts.
    """
    check_batch(batch, processes())
    size = batch // processes()
    return slice(rank() * size, (rank() + 1) * size)


def check_batch(batch: int, count: int) -> None:
    """Check that `count` processes can split a batch into equal parts of at least two samples.

    PyTorch 2.15 on a CPU uses another convolution for a single small image, which cannot train Keras's permuted kernels.

    Args:
        batch: number of samples.
        count: number of processes.

    Raises:
        UserError: when they cannot.
    """
    fitting = [n for n in range(1, batch + 1) if batch % n == 0 and (n == 1 or batch // n > 1)]
    if count not in fitting:
        numbers = ", ".join(map(str, fitting))
        raise UserError(
            f"{count} processes cannot split the recipe's batch of {batch} into equal parts of 2 or more; use {numbers}"
        )


@contextlib.contextmanager
def group() -> Iterator[None]:
    """Context manager: connect to the other ranks, and disconnect after the work.

    Raises:
        UserError: for more ranks than GPUs on this machine.
        Lost: when another rank ends.
    """
    if processes() == 1:
        yield
        return
    import torch
    from torch import distributed as dist

    if sys.platform == "linux":  # elsewhere, ranks may keep running after torchrun was killed
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    gpus = torch.cuda.device_count()
    if gpus:
        if _local_rank() >= gpus:
            raise UserError(f"LOCAL_RANK {_local_rank()}: this machine has {gpus} GPUs; start at most one process per GPU")
        torch.cuda.set_device(_local_rank())
    with _lost_rank_errors(), quiet():  # gloo prints its connections on standard output
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=_TIMEOUT)
        dist.all_reduce(torch.zeros(1))
    yield
    dist.destroy_process_group()


@contextlib.contextmanager
def _lost_rank_errors() -> Iterator[None]:
    """Context manager: raise Lost instead of PyTorch's RuntimeError for a lost connection."""
    try:
        yield
    except RuntimeError as error:
        raise Lost(
            f"rank {rank()} of {processes()} lost the connection to another rank ({str(error).splitlines()[0]})"
        ) from error


def broadcast(value: _T) -> _T:
    """Return rank 0's `value` on all ranks. It can be anything that pickles."""
    if processes() == 1:
        return value
    import torch

    values = [value]
    with _lost_rank_errors():
        torch.distributed.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    return values[0]


def first_process_first(make: Callable[[], _T]) -> _T:
    """Call make() on all ranks: on the first rank of each machine before the others, which can use its files."""
    result = make() if _local_rank() == 0 else None
    mean(0.0)  # waits for the first ranks
    return make() if result is None else result


def mean(value: float) -> float:
    """Return the mean of a number over all ranks."""
    if processes() == 1:
        return value
    import torch

    total = torch.tensor(value, dtype=torch.float64)
    with _lost_rank_errors():
        torch.distributed.all_reduce(total)
    return float(total) / processes()


def broadcast_variables(variables: Iterable[keras.Variable]) -> None:
    """Copy rank 0's values of Keras variables to all ranks."""
    if processes() > 1:
        import torch

        with _lost_rank_errors():
            for variable in variables:
                torch.distributed.broadcast(variable.value.data, src=0)


def averaging(kind: Callable[..., Any]) -> Callable[..., Any]:
    """Return a subclass of a Keras optimizer class that applies the mean of all ranks' gradients.

    With one process, `kind` itself is returned.
    """
    if processes() == 1:
        return kind
    import torch

    base: Any = type(kind())  # on PyTorch, Keras replaces the class by another one when it makes an instance

    class Averaging(base):
        def apply(self, grads: Iterable[Any], trainable_variables: Any = None) -> None:
            present = [grad for grad in grads if grad is not None]
            flat = torch.cat([grad.reshape(-1) for grad in present])  # one message for all gradients
            with _lost_rank_errors():
                torch.distributed.all_reduce(flat)
            for grad, part in zip(present, (flat / processes()).split([grad.numel() for grad in present]), strict=True):
                grad.copy_(part.view_as(grad))
            super().apply(grads, trainable_variables)

    return Averaging


def is_ended(error: BaseException) -> bool:
    """Return whether torchrun stops this rank, which has met `error`, because another rank has failed.

    If so, the failure of the other rank is reported instead. The first rank of a machine waits for torchrun only if `error`
    is Lost. With several machines it reports in any case: the rank that failed may be on another machine, and this machine's
    torchrun then sees only a lost connection.
    """
    if processes() == 1 or (_local_rank() == 0 and not isinstance(error, Lost)):
        return False
    try:
        time.sleep(_PATIENCE_S)
    except KeyboardInterrupt:
        return _local_rank() > 0 or int(os.environ.get("LOCAL_WORLD_SIZE", processes())) == processes()
    return False


def _cores() -> int:
    """Return the number of CPU cores this process may use; all cores on macOS and Windows, which do not report it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def launch(count: int, say_failure: Callable[[str], object]) -> int:
    """Run the current command line in `count` processes on this machine with torchrun.

    Args:
        count: number of processes.
        say_failure: called with a message when a process was killed or failed without printing one.

    Returns:
        The exit status.

    Raises:
        KeyboardInterrupt: when interrupted, after all processes have ended.
    """
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // count)))
    logging.disable()  # torchrun logs failures, too
    command = ["--standalone", "--nproc-per-node", str(count), "-m", "mobile_sr", *sys.argv[1:]]
    try:
        torchrun.run(torchrun.parse_args(command))
    except SignalException:
        raise KeyboardInterrupt from None
    except ChildFailedError as error:
        number, failure = error.get_first_failure()
        if failure.exitcode == 2:
            return 2
        how = f"was killed by {failure.signal_name()}" if failure.exitcode < 0 else f"ended with status {failure.exitcode}"
        say_failure(f"rank {number} of {count} {how}, which ended the job")
        return 1
    return 0
