"""A wrong option is one sentence and exit status 2, before anything is read, written or loaded."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import apache_beam as beam
import pytest

from pipelines import extract_regions, prepare_captions
from pipelines import watchdog as watchdog_module
from pipelines.beam_options import pipeline, read_beam_options, worker_count
from pipelines.watchdog import Watchdog
from vsalign.errors import ConfigurationError, RunStopped

MISTAKES = [
    (["--shard-sise", "3"], "--shard-size"),
    (["--num-workers", "3"], "--num_workers"),
    (["--runner=FnApiRuner"], "FnApiRuner"),
    (["--direct_running_mode", "fast"], "multi_processing"),
    (["stray"], "'stray' belongs to no option"),
    (["--workers", "-1"], "--workers -1"),
    (["--workers", "two"], "two"),
    (["--workers", "2", "--runner=PortableRunner"], "leave it out"),
    (["--workers", "2", "--output", "memory://table"], "leave --workers out"),
    (["--runner=DataflowRunner"], "name a bucket"),
    (["--runner=DataflowRunner", "--output", "memory://table"], "name a bucket"),
    (["--batch-size", "0"], "batch_size"),
    (["--shard-size", "0"], "--shard-size 0"),
    (["--extractor.name", "heavy"], "choose one of rcnn-lite, lite"),
    (["--extractor.name", "lite", "--extractor.input-size", "100"], "multiple of 32"),
    (["--extractor.weights", "nowhere.pth"], "nowhere.pth"),
    (["--extractor.name", "given"], "--extractor.boxes"),
    (["--extractor.name", "given", "--extractor.boxes", "nowhere.json"], "nowhere.json"),
    (["--images", "nowhere"], "nowhere"),
    (["--output", " "], "--output"),
]


@pytest.mark.parametrize(("wrong", "named"), MISTAKES, ids=[" ".join(wrong) for wrong, _ in MISTAKES])
def test_a_mistake_is_one_sentence_and_leaves_no_trace(
    wrong: list[str], named: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = {"--images": str(pictures), "--output": str(tmp_path / "table")}
    given = [word for name, value in right.items() if name not in wrong for word in (name, value)]
    assert extract_regions.main([*given, *wrong]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert named in said
    assert not (tmp_path / "table").exists()


def test_an_input_without_pictures_is_told_before_the_folder_is_claimed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    assert extract_regions.main(["--images", str(tmp_path / "photos"), "--output", str(tmp_path / "table")]) == 2
    assert "holds nothing to read" in capsys.readouterr().err
    assert not (tmp_path / "table").exists()


def test_help_lists_the_options_of_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    for main, flags in (
        (extract_regions.main, ("--images", "--extractor.name", "--batch-size", "--workers", "--shard-size")),
        (prepare_captions.main, ("--captions", "--splits.train", "--tune", "--regions", "--stall-timeout")),
    ):
        assert main(["--help"]) == 0
        shown = capsys.readouterr().out
        assert all(flag in shown for flag in flags)


def test_options_of_beam_pass_through() -> None:
    rest = ["--project", "p", "--experiments=a", "--experiments=b", "--sdk_location", "container"]
    options = read_beam_options(rest, [], "prog").get_all_options()
    assert options["project"] == "p" and options["experiments"] == ["a", "b"]
    assert options["sdk_location"] == "container"


def test_workers_may_be_named_the_way_beam_does() -> None:
    rest = ["--direct_running_mode=multi_processing", "--direct_num_workers=3"]
    assert worker_count(read_beam_options(rest, [], "prog"), 0) == 3
    assert worker_count(read_beam_options([], [], "prog"), 2) == 2


def test_the_default_runner_runs_here_without_a_download() -> None:
    runner = pipeline(read_beam_options([], [], "prog"), 0).runner
    assert type(runner) is beam.runners.portability.fn_api_runner.FnApiRunner


def test_an_unknown_option_names_the_closest_of_ours_and_beams() -> None:
    with pytest.raises(ConfigurationError, match="did you mean --overwrite"):
        read_beam_options(["--overwrit"], ["--overwrite"], "prog")
    with pytest.raises(ConfigurationError, match="did you mean --temp_location"):
        read_beam_options(["--temp_locatoin=x"], ["--overwrite"], "prog")


def test_the_watchdog_lets_a_run_go_on_that_commits_or_computes() -> None:
    now = [0.0]
    with Watchdog(timeout=2, clock=lambda: now[0]) as watchdog:
        for step in range(1, 5):
            now[0] += 1.5
            watchdog.check(committed=step)
        for _ in range(3):
            now[0] += 1.5
            started = time.process_time()
            while time.process_time() - started < 0.25:
                pass
            watchdog.check(committed=4)
        now[0] += 1.5
        watchdog.check(committed=4)
        now[0] += 1.5
        with pytest.raises(RunStopped, match="2 s"):
            watchdog.check(committed=4)


def test_where_computing_of_workers_cannot_be_seen_they_are_not_taken_for_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog_module, "PROC", tmp_path / "nowhere")
    now = [0.0]
    with Watchdog(timeout=2, workers=2, clock=lambda: now[0]) as watchdog:
        now[0] += 100
        watchdog.check(committed=0)
    with Watchdog(timeout=2, clock=lambda: now[0]) as watchdog:  # in this process it can be seen everywhere
        started = time.process_time()
        while time.process_time() - started < 0.25:
            pass
        now[0] += 100
        watchdog.check(committed=0)
        now[0] += 100
        with pytest.raises(RunStopped, match="--stall-timeout"):
            watchdog.check(committed=0)


def test_a_command_leaves_with_its_status_and_its_words_whatever_stands_in_native_threads() -> None:
    code = "import atexit; from pipelines.launch import leave; atexit.register(print, 'finalised'); print('said'); "
    left = subprocess.run([sys.executable, "-c", code + "leave(3)"], capture_output=True, text=True, check=False)
    assert (left.returncode, left.stdout) == (3, "said\n")


def test_the_watchdog_notices_the_thread_that_lost_its_worker() -> None:
    def lose() -> None:
        raise RuntimeError("Worker subprocess exited with return code -9")

    hook = threading.excepthook
    with pytest.raises(RunStopped, match="return code -9"), Watchdog(timeout=0) as watchdog:
        watchdog.check(0)
        thread = threading.Thread(target=lose, name="run_worker")
        thread.start()
        thread.join()
        time.sleep(0)
        watchdog.check(0)
    threading.excepthook = hook
