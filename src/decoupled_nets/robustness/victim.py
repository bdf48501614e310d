"""The network under attack, as attacks see it: logits and gradients, counted and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

#: The network sees a multiple of so many images at once, the rest filled up: with fewer, a processor's
#: libraries add up in another order, and the result would depend on how many images are left. It also depends
#: on the number of threads that share a matrix product, so on a processor each block has one thread, and the
#: threads share the blocks.
MULTIPLE = 16
BATCH_SIZE = 128


class Victim:
    """A network in evaluation mode, from images (B, C, H, W) with pixels in [0, 1] to logits (B, K).

    Args:
        model: the network, or already a victim.
        batch_size: images that it sees at once, at most.
        threads: blocks that run at a time on a processor; by default as many as torch has threads. A hook
            on the network sees them in any order.

    Raises:
        ValueError: it is in training mode, or has parameters of half precision.

    Attributes:
        forwards: Images that went through it.
        backwards: Images whose gradient was computed.
    """

    def __init__(self, model: nn.Module, *, batch_size: int = BATCH_SIZE, threads: int | None = None) -> None:
        if batch_size < 1 or (threads is not None and threads < 1):
            raise ValueError(
                f"batch_size = {batch_size}, threads = {threads} received; needed: at least 1 of each"
            )
        training = [name or type(model).__name__ for name, m in model.named_modules() if m.training]
        if training:
            raise ValueError(
                f"a network in training mode received ({training[0]}); needed: model.eval(), as dropout and"
                " batch statistics make attacks miss"
            )
        half = {str(p.dtype) for p in model.parameters() if p.dtype in (torch.float16, torch.bfloat16)}
        if half:
            raise ValueError(
                f"parameters in {half.pop()} received; needed: float32 or wider (model.float()), as"
                " gradients of half precision underflow"
            )
        self.model = model
        self.batch_size = batch_size
        self.threads = threads or torch.get_num_threads()
        self._pool: ThreadPoolExecutor | None = None
        self.forwards = self.backwards = 0

    @classmethod
    def of(cls, model: nn.Module | Victim) -> Victim:
        """The victim itself, or a new one of a network."""
        return model if isinstance(model, Victim) else cls(model)

    @property
    def like(self) -> Tensor:
        """An empty tensor of the network's type and device."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        floats = [t for t in tensors if t.dtype.is_floating_point]
        return (
            torch.empty(0) if not floats else torch.empty(0, device=floats[0].device, dtype=floats[0].dtype)
        )

    def logits(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, K), float32 or wider.

        Raises:
            ValueError: the network gives something else than a finite number for each class.
        """
        self.forwards += len(images)

        def of(part: Tensor, count: int) -> tuple[Tensor]:
            with torch.no_grad():
                return (self._logits(part)[:count],)

        (logits,) = self._each(of, images)
        return logits

    def predict(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to classes (B,); of equal logits the first."""
        return self.logits(images).argmax(1)

    def gradient(
        self, images: Tensor, loss: Callable[..., Tensor], *given: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A loss and its gradient by the images.

        Args:
            images: (B, C, H, W).
            loss: from logits (B, K) and `given` to (B,).
            *given: (B, ...) each, such as the labels.

        Returns:
            Logits (B, K), losses (B,) and gradients (B, C, H, W).
        """
        self.forwards += len(images)
        self.backwards += len(images)

        def of(part: Tensor, count: int, *rest: Tensor) -> tuple[Tensor, ...]:
            part = part.detach().requires_grad_()
            with torch.enable_grad():
                logits = self._logits(part)
                losses = loss(logits, *rest)
                gradients = _gradient(losses.sum(), part)
            return logits.detach()[:count], losses.detach()[:count], gradients[:count]

        with self._fixed():
            logits, losses, gradients = self._each(of, images, *given)
        return logits, losses, gradients

    def _each(self, of: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> list[Tensor]:
        """What a function gives for the blocks, in the order of the images."""
        blocks = list(self._blocks(*tensors))
        if tensors[0].device.type != "cpu":
            with _whole_float32():
                found = [of(*block) for block in blocks]
        else:
            with _one_thread():
                if len(blocks) == 1 or self.threads == 1:
                    found = [of(*block) for block in blocks]
                else:
                    self._pool = self._pool or ThreadPoolExecutor(self.threads)
                    found = list(self._pool.map(lambda block: _alone(of, block), blocks))
        return [torch.cat(parts) for parts in zip(*found, strict=True)]

    def _blocks(self, images: Tensor, *given: Tensor) -> Iterator[Any]:
        """What the network sees at once, filled up by repetition, and how many of it count."""
        size = self.batch_size
        if images.device.type == "cpu":
            share = -(-len(images) // (self.threads * MULTIPLE)) * MULTIPLE
            size = max(min(size, share), 1)
        for first in range(0, max(len(images), 1), size):
            parts = [tensor[first : first + size] for tensor in (images, *given)]
            count = len(parts[0])
            # Libraries of accelerators choose by the whole shape; a processor's only by "very few".
            whole = -(-count // MULTIPLE) * MULTIPLE if images.device.type == "cpu" else size
            if count and whole > count:
                place = torch.arange(whole, device=images.device) % count
                parts = [part[place] for part in parts]
            yield parts[0], count, *parts[1:]

    def _logits(self, images: Tensor) -> Tensor:
        given = self.model(images)
        if not isinstance(given, Tensor) or given.ndim != 2 or given.shape[1] < 2:
            what = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise ValueError(
                f"a network that gives {what} for {len(images)} images received; needed: a tensor of logits"
                f" ({len(images)}, classes), of at least 2 classes"
            )
        if not bool(given.isfinite().all()):
            raise ValueError(
                "logits that are NaN or infinite received; needed: finite ones for every image in [0, 1], as"
                " nothing can be said of such a network"
            )
        return given if given.dtype == torch.float64 else given.float()

    @contextmanager
    def _fixed(self) -> Iterator[None]:
        """Without gradients for the weights, which cost as much as those for the images."""
        wanted = [p for p in self.model.parameters() if p.requires_grad]
        for parameter in wanted:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in wanted:
                parameter.requires_grad_(True)


def _alone(of: Callable[..., tuple[Tensor, ...]], block: Any) -> tuple[Tensor, ...]:
    """In a thread of a pool, which multiplies matrices on as many as the process began with until told."""
    torch.set_num_threads(1)
    return of(*block)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Without TensorFloat-32, whose factors have ten bits: gradients would miss their float64 values."""
    cudnn: Any = torch.backends.cudnn
    places = (cudnn.conv, torch.backends.cuda.matmul)
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = "ieee"
    try:
        yield
    finally:
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision


def _gradient(value: Tensor, images: Tensor) -> Tensor:
    """Zero where nothing leads back to the images, or to no number; a check tells that."""
    if not value.requires_grad:
        return torch.zeros_like(images)
    (found,) = torch.autograd.grad(value, images, allow_unused=True)
    return torch.zeros_like(images) if found is None else found.nan_to_num(0.0, 0.0, 0.0)
