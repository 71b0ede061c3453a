"""Processes that train one model together: what they add up, agree on, and see to it that they have in common."""

from __future__ import annotations

import itertools
import os
import socket
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from robustray.errors import ProcessLost
from robustray.training.rows import Rows

LOOPBACK = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_PATIENCE = timedelta(days=1)  # a driver finds what hangs long before, by its own measure


class Alone:
    """A training in one process: nothing to add up, nobody to ask."""

    rank, size = 0, 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and that others look after."""
        return self.rank == 0

    def network(self, model: nn.Module) -> nn.Module:
        """What to call in a model's place, so that each process computes its share of a batch's images."""
        return model

    def average_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Puts the mean over all processes into the weights' `.grad`."""

    def decided(self, *asked: bool) -> tuple[bool, ...]:
        """What the first process asks for, known to all of them."""
        return asked

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """A block that others enter once the first process has left it."""
        yield

    def compare(self, tensors: Iterable[Tensor], streams: Iterable[Tensor]) -> None:
        """Sees to it that all processes hold the same numbers, and draw the same ones next.

        Raises:
            RuntimeError: they do not: what they train is not one model.
        """

    @contextmanager
    def at(self, order: str) -> Iterator[None]:
        """Work that all processes take part in, each in its own `Trainer`: the method of that name."""
        yield


ALONE = Alone()


class Group(Alone):
    """This process among those of one machine that train a model together, by torch.distributed.

    Tensors on a CPU go by gloo, those on CUDA devices by NCCL. Sockets are opened on the loopback interface alone.

    Args:
        rank: which of them this is, from 0. size: how many they are, at least 2.
        store: a file that is not there yet, by which they find each other.
        device: where this one computes.

    Raises:
        ProcessLost: another one died meanwhile.
    """

    def __init__(self, rank: int, size: int, store: Path, device: torch.device) -> None:
        self.rank, self.size = rank, size
        cuda = device.type == "cuda"
        if cuda:
            torch.cuda.set_device(device)
        if dist.is_initialized():  # of a crew before that was lost
            dist.destroy_process_group()
        file = dist.FileStore(str(store), size)  # type: ignore[attr-defined]
        with _loopback(), _lost():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if cuda else "gloo", store=file,
                rank=rank, world_size=size, timeout=_PATIENCE,
            )  # fmt: skip
        self.add_up(torch.zeros(1))  # all are there, and have done with the file

    def network(self, model: nn.Module) -> nn.Module:
        return Rows(model, self)

    def average_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """In one message for each type of number. A weight without a gradient has none in any process."""
        found: dict[torch.dtype, list[Tensor]] = {}
        for weight in weights:
            if weight.grad is not None:
                found.setdefault(weight.grad.dtype, []).append(weight.grad)
        for gradients in found.values():
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self.add_up(flat)
            parts = torch.split(flat.div_(self.size), [gradient.numel() for gradient in gradients])
            torch._foreach_copy_(gradients, [part.view(to.shape) for part, to in zip(parts, gradients, strict=True)])

    def decided(self, *asked: bool) -> tuple[bool, ...]:
        said = torch.tensor(asked)  # on the host: no device has to be waited for
        with _lost():
            dist.broadcast(said, 0)
        return tuple(said.tolist())

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        if self.first:
            yield
        self.decided(True)
        if not self.first:
            yield

    def compare(self, tensors: Iterable[Tensor], streams: Iterable[Tensor]) -> None:
        """By the sum of each tensor and a checksum of each stream, bit for bit."""
        sums = torch.stack([each.detach().double().sum() for each in tensors]).cpu().view(torch.int64)
        draws = torch.tensor([zlib.crc32(stream.cpu().numpy().tobytes()) for stream in streams])
        low = torch.cat([sums, draws])
        high = low.clone()
        with _lost():
            dist.all_reduce(low, dist.ReduceOp.MIN)
            dist.all_reduce(high, dist.ReduceOp.MAX)
        if not torch.equal(low, high):
            what = "weights" if not torch.equal(low[: len(sums)], high[: len(sums)]) else "random draws"
            raise RuntimeError(
                f"the {what} of {self.size} processes differ, which train one model: does the network draw or add up "
                "over a batch in a way of its own?"
            )

    def own(self, images: int) -> slice:
        """The rows of a batch of so many images that this process computes."""
        return rows(images, self.size)[self.rank]

    def add_up(self, tensor: Tensor) -> None:
        """Puts the sum over all processes in the tensor's place."""
        with _lost():
            dist.all_reduce(tensor)

    def collect(self, own: Tensor, images: int) -> Tensor:
        """[images, ...], of which every process gives its own rows."""
        most = -(-images // self.size)
        sent = own.new_zeros((most, *own.shape[1:]))
        sent[: len(own)] = own
        every = own.new_empty((self.size * most, *own.shape[1:]))
        with _lost():
            dist.all_gather_into_tensor(every, sent)
        if images == self.size * most:
            return every
        counts = [own.stop - own.start for own in rows(images, self.size)]
        return torch.cat(
            [part[:count] for part, count in zip(torch.tensor_split(every, self.size), counts, strict=True)]
        )

    def leave(self) -> None:
        """Takes no part any more."""
        if dist.is_initialized():
            dist.destroy_process_group()


def rows(images: int, size: int) -> list[slice]:
    """Which of so many images each of `size` processes computes, in order: the first ones have one more at most."""
    each, more = divmod(images, size)
    ends = [rank * each + min(rank, more) for rank in range(size + 1)]
    return [slice(begin, end) for begin, end in itertools.pairwise(ends)]


@contextmanager
def _lost() -> Iterator[None]:
    """Whatever goes wrong between processes, one of them is gone: who it is, and why, is for others to find out."""
    try:
        yield
    except RuntimeError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ProcessLost(lines[0]) from error


@contextmanager
def _loopback() -> Iterator[None]:
    """Libraries that open sockets do so on the interface that no other machine can reach."""
    names = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    before = {key: os.environ.get(key) for key in LOOPBACK}
    os.environ.update({key: name for key in LOOPBACK for name in names[:1]})
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
