"""The loop both models are trained by, on a model of one number, and the state it goes on from."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vsalign.errors import ModelError, VsalignError
from vsalign.storage import TableReader
from vsalign.training.loop import Training
from vsalign.training.schedule import HERE, Running, Schedule
from vsalign.training.state import STATE_FILE, TrainingState
from vsalign.training.stream import Batch, PairStream, Text


def schedule(**changes: Any) -> Schedule:
    """Five epochs of two pairs a step, at a constant patience."""
    return replace(Schedule(epochs=5, patience=100, batch_size=2, learning_rate=0.1, warmup=0), **changes)


class OneNumber(nn.Module):
    """Pulled to the mean of the features that it sees; a frozen number beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.zeros(1))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, batch: Batch) -> Tensor:
        noise = torch.rand(1)  # as dropout takes random numbers
        return ((self.number * self.frozen - batch.features.mean() - noise) ** 2).sum()


class Run:
    """A training run of it, whose validation gives such figures one by one."""

    def __init__(self, stream: PairStream, work: Path, fingerprint: str = "run") -> None:
        self.stream, self.work = stream, work
        self.model = OneNumber()
        optimiser = torch.optim.SGD(self.model.parameters(), 0.1, momentum=0.9)
        self.state = TrainingState(self.model, optimiser, fingerprint)
        self.reported: list[dict[str, Any]] = []
        self.after_epoch: list[float] = []

    def train(
        self,
        figures: Sequence[float],
        settings: Schedule | None = None,
        cost: Callable[[nn.Module, Batch], Tensor] | None = None,
        running: Running = HERE,
    ) -> None:
        def validate() -> tuple[float, dict[str, float]]:
            assert not self.model.training
            self.after_epoch.append(self.model.number.item())
            return figures[self.state.epoch], {"figure": figures[self.state.epoch]}

        def report(metrics: dict[str, Any], checkpoint: Path | None) -> None:
            assert checkpoint is not None
            name = f"epoch{metrics['epoch']}"
            if "step" in metrics:
                name += f"step{metrics['step']}"
            else:
                self.reported.append(metrics)
            shutil.copytree(checkpoint, checkpoint.parent / name, dirs_exist_ok=True)

        def told(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
            value = (cost or (lambda model, batch: model(batch)))(model, batch)
            return value, {"twice": 2 * value.item()}

        Training(settings or schedule(), running, self.state, self.stream, told, self.work, report).run(validate)


@pytest.fixture
def new_run(tmp_path: Path, write_regions: Callable[..., str]) -> Callable[..., Run]:
    images = {f"{n}.jpg": np.full((1, 2), n, np.float16) for n in range(9)}
    url = write_regions(tmp_path / "regions", [images])
    texts = {image_id: [Text([4])] for image_id in images}
    count = iter(range(100))

    def run(fingerprint: str = "run") -> Run:
        work = tmp_path / f"run{next(count)}" / "work"
        work.mkdir(parents=True)
        return Run(PairStream(TableReader(url, "regions"), texts, seed=0), work, fingerprint)

    return run


def test_the_best_epoch_s_weights_stay_in_the_model(new_run: Callable[..., Run]) -> None:
    run = new_run()

    run.train([0.1, 0.3, 0.2, 0.3, 0.1])

    assert run.state.best_epoch == 1  # the first of equally good ones
    assert run.model.number.item() == run.after_epoch[1] != run.after_epoch[4]
    assert [metrics["epoch"] for metrics in run.reported] == [0, 1, 2, 3, 4]
    assert run.state.history == run.reported
    assert not run.model.training


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 4), (3, 6)])
def test_training_stops_after_the_patience_s_epochs_without_a_better_figure(
    new_run: Callable[..., Run], patience: int, epochs: int
) -> None:
    run = new_run()

    run.train([0.1, 0.5, 0.4, 0.5, 0.6, 0.2], schedule(epochs=6, patience=patience))

    assert len(run.reported) == epochs


def test_a_run_resumed_from_any_epoch_ends_bitwise_as_an_undisturbed_one(new_run: Callable[..., Run]) -> None:
    figures = [0.3, 0.2, 0.4, 0.1, 0.5]
    undisturbed = new_run()
    undisturbed.train(figures)

    for epoch in range(5):
        run = new_run()
        run.state.load(undisturbed.work.parent / f"epoch{epoch}")
        run.train(figures)
        assert torch.equal(run.model.number, undisturbed.model.number)
        assert run.after_epoch == undisturbed.after_epoch[epoch + 1 :]
        assert run.state.best_epoch == undisturbed.state.best_epoch
        assert [m["loss"] for m in run.state.history] == [m["loss"] for m in undisturbed.state.history]


def test_a_run_resumed_from_any_step_ends_bitwise_as_an_undisturbed_one(new_run: Callable[..., Run]) -> None:
    figures, running = [0.3, 0.2, 0.4, 0.1, 0.5], Running(checkpoint_steps=1)
    undisturbed = new_run()
    undisturbed.train(figures)

    stepwise = new_run()
    stepwise.train(figures, running=running)
    places = [f"epoch{epoch}step{step}" for epoch in range(5) for step in (1, 2, 3)]
    assert all((stepwise.work.parent / place).is_dir() for place in places)
    for place in places:
        run = new_run()
        run.state.load(stepwise.work.parent / place)
        assert run.state.step == int(place[-1])
        run.train(figures)
        assert torch.equal(run.model.number, undisturbed.model.number)
        for one, two in zip(run.state.history, undisturbed.state.history, strict=True):
            assert {**one, "seconds": 0} == {**two, "seconds": 0}
            assert one["twice"] == pytest.approx(2 * one["loss"])


def test_any_seed_is_taken(new_run: Callable[..., Run]) -> None:
    new_run().train([0.1], schedule(epochs=1, seed=2**31 - 1))


def test_max_steps_cuts_the_last_epoch_and_the_rate_falls_to_0_by_then(new_run: Callable[..., Run]) -> None:
    run, rates = new_run(), []

    def cost(model: nn.Module, batch: Batch) -> Tensor:
        rates.append(run.state.optimiser.param_groups[0]["lr"])
        return model(batch)

    run.train([0.1] * 5, schedule(max_steps=6), cost)

    assert rates == pytest.approx([0.1 * (1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)])
    assert [metrics["epoch"] for metrics in run.reported] == [0, 1]


def test_curves_are_written_for_tensorboard(new_run: Callable[..., Run], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    running = Running(tensorboard=str(tmp_path / "curves"), checkpoint_steps=1)
    first, again = new_run(), new_run()
    first.train([0.1, 0.3, 0.2, 0.3, 0.1], running=running)
    again.state.load(first.work.parent / "epoch2step2")  # a later run of the same folder
    again.train([0.1, 0.3, 0.2, 0.3, 0.1], running=running)

    events = EventAccumulator(running.tensorboard)
    events.Reload()
    losses = events.Scalars("train/loss")
    assert [event.step for event in losses] == list(range(1, 21))
    by_epoch = np.array([event.value for event in losses]).reshape(5, 4).mean(1)
    np.testing.assert_allclose(by_epoch, [metrics["loss"] for metrics in again.state.history], rtol=1e-5)
    assert [(event.step, round(event.value, 4)) for event in events.Scalars("tune/figure")] == [
        (4, 0.1), (8, 0.3), (12, 0.2), (16, 0.3), (20, 0.1),
    ]  # fmt: skip
    assert set(events.Tags()["scalars"]) == {"train/loss", "train/twice", "train/learning_rate", "tune/figure"}


def test_a_run_that_stopped_early_stays_stopped_when_resumed(new_run: Callable[..., Run]) -> None:
    first, again = new_run(), new_run()
    settings = schedule(patience=1)
    first.train([0.5, 0.4, 0.9, 0.9, 0.9], settings)

    again.state.load(first.work)
    again.train([0.5, 0.4, 0.9, 0.9, 0.9], settings)

    assert again.reported == []
    assert torch.equal(again.model.number, first.model.number)


def test_the_random_numbers_differ_from_epoch_to_epoch(new_run: Callable[..., Run]) -> None:
    run = new_run()
    drawn: list[float] = []

    def cost(model: nn.Module, batch: Batch) -> Tensor:
        drawn.append(torch.rand(1).item())
        return 0 * model(batch)

    run.train([0.0] * 5, cost=cost)

    assert len(set(drawn)) == len(drawn) == 5 * 4


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_refused_with_epoch_step_and_remedy(
    new_run: Callable[..., Run], bad: float
) -> None:
    run, steps = new_run(), iter(range(100))

    def cost(model: nn.Module, batch: Batch) -> Tensor:
        return model(batch) * (bad if next(steps) == 6 else 1)

    with pytest.raises(VsalignError, match=rf"loss of epoch 1, step 2 of 4, is {bad}.*lower learning_rate") as caught:
        run.train([0.0] * 5, cost=cost)

    assert "\n" not in str(caught.value)
    assert torch.isfinite(run.model.number).all()  # the step was not taken


def test_a_validation_figure_that_is_no_number_is_refused_with_its_epoch(new_run: Callable[..., Run]) -> None:
    with pytest.raises(VsalignError, match="validation figure of epoch 2 is no number.*lower learning_rate"):
        new_run().train([0.1, 0.2, math.nan, 0.1, 0.1])


def test_even_the_worst_figure_leaves_a_model(new_run: Callable[..., Run]) -> None:
    run = new_run()

    run.train([-math.inf] * 5, schedule(patience=2))

    assert run.model.number.item() == run.after_epoch[0]


def test_a_frozen_parameter_stays_as_it_is(new_run: Callable[..., Run]) -> None:
    run = new_run()

    run.train([0.1] * 5)

    assert run.model.frozen.item() == 1.0
    assert run.model.number.item() != 0.0


def test_gradients_are_clipped_element_by_element(new_run: Callable[..., Run]) -> None:
    run = new_run()

    run.train([0.1], schedule(epochs=1, clip=1e-3, learning_rate=1.0, batch_size=9))

    assert run.model.number.item() == pytest.approx(1e-3, rel=1e-4)


def test_a_checkpoint_of_another_run_is_refused(new_run: Callable[..., Run]) -> None:
    first = new_run()
    first.train([0.1] * 5)

    with pytest.raises(ModelError, match="is of another run .* give another --output, or --overwrite"):
        new_run("another").state.load(first.work)


def test_a_checkpoint_that_is_missing_cut_or_no_checkpoint_is_refused_in_one_sentence(
    new_run: Callable[..., Run],
) -> None:
    run = new_run()
    run.train([0.1] * 5)
    whole = (run.work / STATE_FILE).read_bytes()

    for content in (None, b"", b"no checkpoint", whole[: len(whole) // 2]):
        if content is None:
            (run.work / STATE_FILE).unlink()
        else:
            (run.work / STATE_FILE).write_bytes(content)
        with pytest.raises(ModelError, match=rf"{STATE_FILE} cannot be read .*: delete it") as caught:
            new_run().state.load(run.work)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_that_would_run_code_is_refused(new_run: Callable[..., Run], tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    run = new_run()
    torch.save({"fingerprint": "run", "model": Code()}, run.work / STATE_FILE)

    with pytest.raises(ModelError, match="cannot be read"):
        run.state.load(run.work)
    assert not (tmp_path / "ran").exists()
