"""The processes that train one model together, as ``torchrun`` starts them: `Ranks` shares out faces and adds up gradients.

`ALONE` is the usual single process. A batch is the batch of all ranks together, and every sum is weighted by faces, so
that several ranks compute what one would.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from torch import Tensor, distributed, nn

from fer.pulse import Stopped

WAIT = timedelta(hours=2)  # of the others, while the first measures an epoch


@dataclass(frozen=True)
class Ranks:
    """`size` processes; this is number `rank` and computes on `device`."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this is the process that measures, prints and writes."""
        return self.rank == 0

    def share(self, indices: np.ndarray) -> np.ndarray:
        """This rank's part of `indices`; parts differ by one at most."""
        return np.array_split(indices, self.size)[self.rank]

    def sum(self, value: Tensor) -> Tensor:
        """`value` summed over the ranks, in place."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def sum_gradients(self, network: nn.Module) -> None:
        """Replace every gradient by its sum over the ranks."""
        if self.size == 1:
            return
        gradients = [one.grad for one in network.parameters() if one.grad is not None]
        total = self.sum(torch.cat([one.flatten() for one in gradients]))
        for one, summed in zip(gradients, total.split([one.numel() for one in gradients]), strict=True):
            one.copy_(summed.view_as(one))

    @contextmanager
    def stopping_together(self) -> Iterator[None]:
        """A block at whose end the ranks wait for each other; Stopped raised in it on one is raised on all."""
        stopped = False
        try:
            yield
        except Stopped:
            stopped = True
        if self.sum(torch.tensor(float(stopped), device=self.device)).item():
            raise Stopped("the run was asked to stop")

    def on_device(self, network: nn.Module) -> nn.Module:
        """`network`, which lies on this rank's device, for callers that give it tensors of the CPU and expect such."""
        return network if self.device.type == "cpu" else _Ferry(network, self.device)


class _Ferry(nn.Module):
    def __init__(self, network: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.network, self.device = network, device

    def forward(self, batch: Tensor) -> Tensor:
        return self.network(batch.to(self.device)).cpu()


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks that torchrun started, this one among them; `ALONE` where it did not.

    With a GPU for each rank of this machine, each computes on its own and they talk through NCCL; else all compute on
    the CPU and talk through Gloo.
    """
    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    local = int(os.environ["LOCAL_RANK"])
    on_gpu = torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])
    device = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=WAIT)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()
