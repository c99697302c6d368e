"""What training's workers tell the driver. Its actor's process imports nothing else: torch would take it seconds."""

from __future__ import annotations

from typing import Any


class Board:
    """An actor on which the first worker writes its epochs, and any worker a person's mistake; the driver reads it."""

    def __init__(self) -> None:
        self._epochs: list[dict[str, Any]] = []
        self._mistake: tuple[str, str] | None = None

    def add(self, metrics: dict[str, Any]) -> None:
        self._epochs.append(metrics)

    def since(self, count: int) -> list[dict[str, Any]]:
        return self._epochs[count:]

    def refuse(self, kind: str, message: str) -> None:
        self._mistake = self._mistake or (kind, message)

    def mistake(self) -> tuple[str, str] | None:
        return self._mistake
