"""Several processes that train one network on PyTorch: torchrun starts and watches them, gloo or NCCL adds the gradients.

Each process (rank) takes its share of every batch, and the optimizer gets the mean of all gradients, so that every rank holds
the same weights. Rank 0 alone scores, writes and prints. Without torchrun's environment there is one process; nothing is sent.
"""

import contextlib
import ctypes
import datetime
import logging
import os
import signal
import sys
import time

from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError

# How long a rank waits for another, which may be decoding images or scoring. A dead one is noticed at once, by its connection.
_TIMEOUT = datetime.timedelta(hours=2)
_PATIENCE_S = 5  # torchrun looks at its processes ten times a second, and ends them all when one has failed
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


class Lost(UserError):
    """Another rank has died."""


def processes():
    """How many processes torchrun, or who sets its variables, has started; 1 without."""
    given = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()
    return int(os.environ["WORLD_SIZE"]) if given else 1


def rank():
    """This process's number among all, from 0."""
    return int(os.environ["RANK"]) if processes() > 1 else 0


def _local_rank():
    """Its number among those of this machine."""
    return int(os.environ.get("LOCAL_RANK", 0)) if processes() > 1 else 0


def share(batch):
    """The slice of a batch of that many samples that is this rank's. Raises: UserError when the ranks' would differ in size."""
    check_batch(batch, processes())
    size = batch // processes()
    return slice(rank() * size, (rank() + 1) * size)


def check_batch(batch, count):
    """Raise UserError when `count` processes cannot have equal shares of a batch, of two samples or more.

    PyTorch 2.15 has another convolution for a single small image on a CPU, which cannot train Keras's permuted kernels.
    """
    fitting = [n for n in range(1, batch + 1) if batch % n == 0 and (n == 1 or batch // n > 1)]
    if count not in fitting:
        numbers = ", ".join(map(str, fitting))
        raise UserError(f"{count} processes cannot share the recipe's batch of {batch}, two or more each; use {numbers}")


@contextlib.contextmanager
def group():
    """Meet the other ranks, and part from them when the work is done. Raises: UserError for more ranks than GPUs, and Lost."""
    if processes() == 1:
        yield
        return
    import torch
    from torch import distributed as dist

    if sys.platform == "linux":  # other systems have no prctl; there, ranks of a killed torchrun can train on unwatched
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    gpus = torch.cuda.device_count()
    if gpus:
        if _local_rank() >= gpus:
            raise UserError(f"LOCAL_RANK {_local_rank()}: this machine has {gpus} GPUs, one for each process")
        torch.cuda.set_device(_local_rank())
    with _noticing(), quiet():  # gloo says on standard output whom it has met
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=_TIMEOUT)
        dist.all_reduce(torch.zeros(1))
    yield
    dist.destroy_process_group()


@contextlib.contextmanager
def _noticing():
    """Turn what PyTorch raises when another rank is gone into Lost."""
    try:
        yield
    except RuntimeError as error:
        raise Lost(f"rank {rank()} of {processes()} has lost another one ({str(error).splitlines()[0]})") from error


def from_first(value):
    """Rank 0's `value`, on all ranks. Anything that pickles."""
    if processes() == 1:
        return value
    import torch

    values = [value]
    with _noticing():
        torch.distributed.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    return values[0]


def one_first(make):
    """make() on all ranks, on one of each machine before the others: what that one leaves on the disk serves all."""
    made = make() if _local_rank() == 0 else None
    mean(0.0)
    return make() if made is None else made


def mean(value):
    """The mean of a number over all ranks, a float."""
    if processes() == 1:
        return value
    import torch

    total = torch.tensor(value, dtype=torch.float64)
    with _noticing():
        torch.distributed.all_reduce(total)
    return float(total) / processes()


def copy_first(variables):
    """Give all ranks rank 0's values of Keras variables."""
    if processes() > 1:
        import torch

        with _noticing():
            for variable in variables:
                torch.distributed.broadcast(variable.value.data, src=0)


def averaging(kind):
    """The class of a Keras optimizer, changed to apply the mean of all ranks' gradients."""
    if processes() == 1:
        return kind
    import torch

    class Averaging(type(kind())):  # Keras makes another class of it on PyTorch, for this very class alone
        def apply(self, grads, trainable_variables=None):
            found = [grad for grad in grads if grad is not None]
            flat = torch.cat([grad.reshape(-1) for grad in found])  # one message instead of one for each
            with _noticing():
                torch.distributed.all_reduce(flat)
            for grad, part in zip(found, (flat / processes()).split([grad.numel() for grad in found]), strict=True):
                grad.copy_(part.view_as(grad))
            super().apply(grads, trainable_variables)

    return Averaging


def is_ended(error):
    """Whether torchrun tells a rank that has met `error` to end, because another has failed: then that one's failure is said.

    The first rank of a machine only waits for that when `error` is Lost. With several machines it speaks in any case: the one
    that failed may be another's, which this machine's torchrun meets only as a lost connection.
    """
    if processes() == 1 or (_local_rank() == 0 and not isinstance(error, Lost)):
        return False
    try:
        time.sleep(_PATIENCE_S)
    except KeyboardInterrupt:
        return _local_rank() > 0 or int(os.environ.get("LOCAL_WORLD_SIZE", processes())) == processes()
    return False


def _cores():
    """CPU cores that this process may use; all cores where the system cannot tell (macOS, Windows)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def launch(count, say_failure):
    """Run this very command line in `count` processes of this machine, by torchrun.

    Args: say_failure: called with a line when a process was killed or failed without a line of its own.
    Returns: the exit status. Raises: KeyboardInterrupt when interrupted, after all have ended.
    """
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // count)))
    logging.disable()  # torchrun's own account of what went wrong
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
