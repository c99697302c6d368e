"""Training jobs: the same curve as without Ray, and killed at any moment, the same weights."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs import train_alignment, train_mrnn
from tests.conftest import LONG
from tests.jobs.directly import EPOCHS, SCHEDULE, SIZES, same, train_here
from vsalign.checkpoint import load_model
from vsalign.errors import ConfigurationError
from vsalign.options import parse
from vsalign.training import alignment, describer
from vsalign.training.alignment import AlignmentTraining
from vsalign.training.describer import DescriberTraining

KILLS = range(5 if LONG else 1)


def running(pid: int, command: str) -> bool:
    """Whether that process still runs, and is not another one of its number."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() == command != ""
    except OSError:
        return False


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", KILLS)
@pytest.mark.parametrize("stage", ["train_alignment", "train_mrnn"] if LONG else ["train_alignment"])
def test_a_killed_job_goes_on_to_the_undisturbed_weights(
    stage: str, seed: int, road, start, cluster, tmp_path, one_thread, capsys
) -> None:
    expected = train_here(stage, road, tmp_path)
    paper = ["--recipe", "paper", "--model.h", "16"]
    kind, sizes = ("alignment", paper) if stage == "train_alignment" else ("describer", ["--recipe", "mrnn"])
    output = str(tmp_path / "job")
    tables = ["--regions", road.regions, "--captions", road.captions, "--output", output]
    arguments = [*tables, *SCHEDULE, *SIZES, *sizes, "--cpus-per-worker", "1", "--checkpoint-steps", "6"]
    job = start(stage, *arguments, "--address", "local")
    job.wait_for_line(f"epoch 2 of {EPOCHS}")
    time.sleep(random.Random(seed).random() / 2)
    # Ray's own agents, which do no work, take a minute more to notice that their cluster is gone.
    family = {pid: command for pid, command in job.family().items() if command and "Agent" not in command}
    assert any("RayTrainWorker" in command for command in family.values())
    job.kill()
    until = time.monotonic() + 30
    while left := [pid for pid, command in family.items() if running(pid, command)]:  # a local Ray ends with its driver
        assert time.monotonic() < until, [family[pid] for pid in left]
        time.sleep(0.1)
    assert not (tmp_path / "job/config.json").exists()

    orphan = tmp_path / "job/_training/checkpoint_of_a_kill"
    orphan.mkdir()
    (orphan / "state.pt").write_bytes(b"half")
    status, out, said = start(stage, *arguments, **cluster.environment).finish()
    assert status == 0, said
    assert "going on from the last checkpoint" in said and f"epoch 1 of {EPOCHS}" not in said
    assert f"{stage} finished" in out and "best epoch" in out and output in out
    same(load_model(output, kind), expected)
    assert sorted(os.listdir(output)) == [
        "_run.json",
        "config.json",
        "model.safetensors",
        "model_card.md",
        "vocabulary.json",
    ]

    job_here = {"train_alignment": train_alignment, "train_mrnn": train_mrnn}[stage]
    assert job_here.main(arguments) == 0  # without Ray: there is nothing to do
    assert "the model was complete, nothing was done" in capsys.readouterr().out
    assert job_here.main([*arguments, "--epochs", "7"]) == 2
    assert f"training.epochs: there {EPOCHS}, asked 7" in capsys.readouterr().err


if LONG:  # a killed node (test_submit.py) takes the worker of train_mrnn with it in the ordinary run

    @pytest.mark.timeout(300)
    @pytest.mark.parametrize("seed", KILLS)
    def test_a_killed_worker_goes_on_to_the_undisturbed_weights(
        seed: int, road, start, cluster, tmp_path, one_thread
    ) -> None:
        expected = train_here("train_mrnn", road, tmp_path)
        output = str(tmp_path / "job")
        tables = ["--regions", road.regions, "--captions", road.captions, "--output", output]
        options = [*SCHEDULE, *SIZES, "--recipe", "mrnn", "--cpus-per-worker", "1", "--checkpoint-steps", "6"]
        job = start("train_mrnn", *tables, *options, **cluster.environment)
        job.wait_for_line(f"epoch 2 of {EPOCHS}")
        time.sleep(random.Random(seed).random() / 2)
        (worker,) = cluster.workers("RayTrainWorker")
        os.kill(worker, signal.SIGKILL)
        status, out, said = job.finish()
        assert status == 0, said
        same(load_model(output, "describer"), expected)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"--regions": "/nowhere"}, "there is no regions table at /nowhere"),
        ({"--captions": "REGIONS"}, "holds a regions table where a captions table is needed"),
        ({"--train-split": "trian"}, "has no captions of the split 'trian'"),
        ({"--learning-rate": "-1"}, "learning_rate"),
        ({"--num-workers": "0"}, "--num-workers 0"),
        ({"--num-workers": "10", "--num-cpus": "2", "--cpus-per-worker": "1"}, "let them be shared with --num-cpus 10"),
        ({"--num-workers": "3"}, "--batch-size 100 cannot be shared equally by --num-workers 3"),
        ({"--output": "memory://model"}, "do not see this process's memory"),
        ({"--address": "127.0.0.1:1"}, "no Ray cluster can be used at 127.0.0.1:1"),
        ({"--epoch": "3"}, "did you mean --epochs?"),
        ({"--output": "ALIGNMENT"}, "holds a model that no training job made"),
    ],
)
@pytest.mark.parametrize("job", [train_alignment, train_mrnn])
def test_a_mistake_is_one_sentence_and_status_2(
    job: Any, changes: dict[str, str], sentence: str, road: Any, tmp_path: Path, capsys: Any
) -> None:
    options = {"--regions": road.regions, "--captions": road.captions, "--output": str(tmp_path / "model"), **changes}
    options["--recipe"] = "paper" if job is train_alignment else "mrnn"
    places = {"REGIONS": road.regions, "ALIGNMENT": road.alignment}
    argv = [word for name, value in options.items() for word in (name, places.get(value, value))]
    assert job.main(argv) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and said.startswith("error: ")


def test_word_vectors_of_another_size_are_refused_before_ray_starts(road, tmp_path, capsys) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text("dog 1 2 3\n")
    argv = ["--regions", road.regions, "--captions", road.captions, "--output", str(tmp_path / "model")]
    for name, says in ((file, "give --model.word-dim 3"), (tmp_path / "absent", "cannot read")):
        assert train_alignment.main([*argv, "--recipe", "paper", "--word-vectors", str(name)]) == 2
        said = capsys.readouterr().err
        assert says in said and said.count("\n") == 1
    assert not (tmp_path / "model").exists()


def test_the_recipe_stands_below_a_file_and_what_is_typed(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("epochs: 3\nmodel:\n  h: 99\n")
    typed = ["--regions", "r", "--captions", "c", "--output", "o", "--epochs", "2"]

    def options(*more: str) -> train_alignment.Options:
        return parse(train_alignment.Options, [*typed, *more], prog="x", description="", recipes=alignment.RECIPES)

    best, own, paper = options(), options("--config", str(file)), options("--recipe=paper")
    assert (best.model.text, best.objective, best.epochs, best.optimiser) == ("language", "contrastive", 2, "adamw")
    assert own.training == replace(best.training, model=replace(best.model, h=99))
    assert paper.training == AlignmentTraining(epochs=2)
    with pytest.raises(ConfigurationError, match="--recipe: 'wurst' is not one of"):
        options("--recipe", "wurst")


def test_the_describers_recipes_are_kinds_and_a_second_training(tmp_path: Path) -> None:
    typed = ["--regions", "r", "--captions", "c", "--output", "o"]

    def options(*more: str) -> train_mrnn.Options:
        return parse(train_mrnn.Options, [*typed, *more], prog="x", description="", recipes=describer.RECIPES)

    attention, mrnn = options(), options("--recipe", "mrnn")
    assert (attention.model.describer, attention.optimiser, attention.choose_by) == ("attention", "adamw", "cider")
    assert mrnn.training == DescriberTraining()
    cider = options("--recipe", "cider", "--start", str(tmp_path / "model"))
    assert (cider.objective, cider.training.start) == ("cider", str(tmp_path / "model"))
    with pytest.raises(ConfigurationError, match="that --start names"):
        options("--recipe", "cider")
    regions = options("--recipe", "regions", "--segments", "s")
    assert (regions.whole_images, regions.model.whole, regions.trim) == (False, True, "english")
    assert (regions.min_phrase, regions.max_phrase) == (2, 6)
    with pytest.raises(ConfigurationError, match="name a segments table by --segments"):
        options("--recipe", "regions")


def test_files_mean_the_same_in_every_worker(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = train_alignment.Options(regions="r", captions="c", output="o", word_vectors="vectors.txt")
    assert options.training.word_vectors == str(tmp_path / "vectors.txt") and options.training.language == ""


def test_another_number_of_workers_is_refused_by_name(road, tmp_path, capsys) -> None:
    argv = ["--regions", road.regions, "--captions", road.captions, "--output", str(tmp_path / "model")]
    argv += ["--recipe", "paper", "--address", "127.0.0.1:1"]  # no Ray: the folder is claimed, and nothing trained
    assert train_alignment.main(argv) == 2
    assert train_alignment.main([*argv, "--num-workers", "2"]) == 2
    assert "num_workers: there 1, asked 2" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["holiday.jpg", "config.json", "_run.json"])
def test_overwrite_deletes_models_of_vsalign_alone(name: str, road, tmp_path, capsys) -> None:
    precious = b'{"architectures": ["SomebodyElses"], "table": "regions"}'
    (tmp_path / name).write_bytes(precious)
    argv = ["--regions", road.regions, "--captions", road.captions, "--output", str(tmp_path), "--overwrite"]
    argv += ["--recipe", "paper"]
    assert train_alignment.main(argv) == 2
    assert "--overwrite deletes only such models" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == precious


@pytest.mark.timeout(200)
def test_a_workers_mistake_is_one_sentence_too_and_not_tried_again(
    road, start: Callable[..., Any], cluster: Any, tmp_path
) -> None:
    shutil.copytree(road.regions, tmp_path / "regions")
    part = sorted((tmp_path / "regions").glob("part-*"))[1]
    part.write_bytes(part.read_bytes()[:1000])
    tables = ["--regions", str(tmp_path / "regions"), "--captions", road.captions, "--output", str(tmp_path / "model")]
    status, _, said = start("train_mrnn", *tables, *SCHEDULE, *SIZES, **cluster.environment).finish()
    assert status == 2, said
    assert said.count("error: ") == 1 and "cannot be read" in said and "Traceback" not in said
