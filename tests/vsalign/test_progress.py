"""Progress on a terminal and in a log, and the summary screen."""

from __future__ import annotations

import io
import threading

import pytest

from vsalign.progress import Progress, Summary, format_duration, format_rate


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_one_line_a_minute_however_many_items() -> None:
    clock, log = Clock(), io.StringIO()
    progress = Progress(12_000, "images", log, label="extract_regions", clock=clock)
    for second in range(600):
        clock.now += 1
        progress.add(10, errors=second == 30)
    lines = log.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0] == "extract_regions: 600 of 12,000 images (5.0 %), 10.0 images/s, 1 error, 19 min 00 s left"
    assert "\r" not in log.getvalue()


def test_a_log_gets_the_last_line_at_once_on_close() -> None:
    clock, log = Clock(), io.StringIO()
    with Progress(4, "images", log, clock=clock) as progress:
        clock.now += 2
        progress.add(4)
        assert log.getvalue() == ""
    progress.close()
    assert log.getvalue() == "4 of 4 images (100.0 %), 2.00 images/s, in 2.0 s\n"


def test_a_terminal_gets_one_line_that_is_rewritten() -> None:
    clock, screen = Clock(), Terminal()
    with Progress(100, "images", screen, clock=clock) as progress:
        for _ in range(100):
            clock.now += 0.05
            progress.add()
    text = screen.getvalue()
    assert text.count("\n") == 1 and text.endswith("\n")
    # Five seconds at most five times a second, and the closing one.
    assert 20 <= text.count("\r") <= 26
    assert all(piece.rstrip("\n").endswith("\x1b[K") for piece in text.split("\r")[1:])


def test_a_line_wider_than_the_terminal_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    screen = Terminal()
    Progress(100, "images", screen, label="a very long label indeed").close()
    assert len(screen.getvalue().strip("\r\n").removesuffix("\x1b[K")) == 19


def test_what_an_earlier_run_did_counts_as_done_but_not_in_the_rate() -> None:
    clock = Clock()
    progress = Progress(1000, "images", io.StringIO(), already=900, clock=clock)
    clock.now += 10
    progress.add(20)
    assert progress.line() == "920 of 1,000 images (92.0 %), 2.00 images/s, 40 s left"


def test_the_rate_is_that_of_the_last_minute() -> None:
    clock = Clock()
    progress = Progress(None, "images", io.StringIO(), clock=clock)
    clock.now += 300  # a model is loaded
    for _ in range(120):
        clock.now += 1
        progress.add(5)
    assert progress.line() == "600 images, 5.00 images/s"


@pytest.mark.parametrize("total", [None, 0, 5])
def test_nothing_done_shows_no_nonsense(total: int | None) -> None:
    line = Progress(total, "images", io.StringIO(), clock=Clock()).line()
    assert "0.00 images/s" in line and "left" not in line and "nan" not in line


def test_counting_from_many_threads_loses_nothing() -> None:
    progress = Progress(8000, "images", io.StringIO())

    def work() -> None:
        for _ in range(1000):
            progress.add(1, errors=1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (progress.done, progress.errors) == (8000, 8000)


def test_the_summary_fits_a_screen_and_says_everything() -> None:
    summary = Summary(
        "extract_regions finished",
        rows=6_990,
        output="gs://b/regions",
        seconds=500.0,
        unit="images",
        inputs=7_000,
        errors={"EMPTY": 2, "TRUNCATED": 7, "CORRUPT": 1},
        already=1_000,
        notes={"litter": 3, "loss": 0.123456, "device": "cpu"},
    )
    out = io.StringIO()
    summary.print(out)
    assert out.getvalue() == (
        "extract_regions finished\n"
        "  inputs       7,000\n"
        "  done before  1,000\n"
        "  images       6,990\n"
        "  errors       10\n"
        "    TRUNCATED  7\n"
        "    EMPTY      2\n"
        "    CORRUPT    1\n"
        "  litter       3\n"
        "  loss         0.1235\n"
        "  device       cpu\n"
        "  time         8 min 20 s\n"
        "  rate         12.0 images/s\n"
        "  output       gs://b/regions\n"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (293, "4 min 53 s"), (3599.7, "1 h 00 min"),
     (7500, "2 h 05 min"), (86399, "1 d 0 h"), (273600, "3 d 4 h")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0, "0.00 rows/s"), (0.07, "4.2 rows/min"), (1, "1.00 rows/s"), (9.996, "10.0 rows/s"),
     (99.96, "100 rows/s"), (12345.6, "12,346 rows/s")],
)  # fmt: skip
def test_rates(rate: float, text: str) -> None:
    assert format_rate(rate, "rows") == text
