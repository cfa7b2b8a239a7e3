"""Past one process: which part of a batch is whose, and what all processes add up (chapter 20).

torchrun starts the processes, gives each its rank, and starts all of them again when one dies; ``torch.distributed``
carries the sums. In a process alone, every function here gives back what it was given.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist


def world() -> int:
    """How many processes train together: an int, 1 alone (chapter 20)."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process among them, an int from 0 (chapter 20)."""
    return dist.get_rank() if world() > 1 else 0


@contextmanager
def joined(device: str | torch.device | None = None) -> Iterator[None]:
    """Within it, this process belongs to the group that torchrun started; alone, nothing happens.

    ``device``: as in ``train``. On CUDA the sums go by NCCL and each process of a machine has a GPU of its own, else
    they go by Gloo. Raises ``ValueError`` for more processes than GPUs. Explained in chapter 20.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        yield
        return
    from torch.distributed.rendezvous import rendezvous  # not in every build of torch

    cuda = torch.device(device or "cuda").type == "cuda" and torch.cuda.is_available()
    if cuda:
        own, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if own >= there:
            raise ValueError(f"nproc-per-node must be at most {there}, the CUDA devices here, or name device 'cpu'")
        torch.cuda.set_device(own)
    store, own, count = next(rendezvous("env://"))
    if os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"]:
        # After a restart torchrun's store still holds the addresses of the dead (pytorch#135712). On several machines
        # the count of restarts differs, and the environment variable named there is the cure.
        store = dist.PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
    dist.init_process_group("nccl" if cuda else "gloo", store=store, rank=own, world_size=count)
    try:
        yield
    finally:
        dist.destroy_process_group()


def share(indices: Sequence[int]) -> Sequence[int]:
    """This process's part of the ``indices`` of a batch, a sequence; alone, all of them.

    Raises ``ValueError`` unless each process gets equally many. Explained in chapter 20.
    """
    if len(indices) % world():
        raise ValueError(f"batch must be a multiple of {world()}, the number of processes, got {len(indices)}")
    return indices[rank() :: world()]


def total(value: torch.Tensor) -> torch.Tensor:
    """Sum of a tensor over all processes, without a gradient; alone, the tensor itself.

    All of them must call it, or those that do wait for the others. Explained in chapter 20.
    """
    if world() > 1:
        value = value.detach().clone()
        dist.all_reduce(value)
    return value


def sum_gradients(parameters: Iterable[torch.Tensor]) -> None:
    """Replace the gradient of each parameter by its sum over all processes, in one message.

    A plain sum, because the loss of each process is already divided by the positives of all. Torch's
    ``DistributedDataParallel`` takes the mean, which would have to be undone. Explained in chapter 20.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if world() > 1 and gradients:
        summed = total(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, summed.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(part.view_as(gradient))
