"""Curves for TensorBoard: what each step told (loss, learning rate, violating pairs), and each epoch's validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsalign.errors import ConfigurationError


class Curves:
    """A folder of events. Raises ConfigurationError where tensorboard is not installed."""

    def __init__(self, folder: str, first_step: int) -> None:
        """`first_step`: what an earlier run wrote from there on is taken back."""
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(folder, purge_step=first_step)

    def add(self, kind: str, figures: Mapping[str, float], step: int) -> None:
        """Note the figures of a step of the whole training under kind/name."""
        for name, value in figures.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def say(self, kind: str, text: str, step: int) -> None:
        """Note a text (Markdown) after a step of the whole training."""
        self._writer.add_text(kind, text, step)

    def flush(self) -> None:
        """Write what was noted so far."""
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def require_tensorboard() -> None:
    """Raise ConfigurationError where it is not installed."""
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            'curves need tensorboard: pip install "vsalign[tensorboard]", or leave --tensorboard out'
        ) from error
