"""vsalign inspect descriptions: figures that are right, and a remark where one caption is everywhere."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from vsalign.cli import main
from vsalign.errors import Reason


def inspected(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    assert main(["inspect", "descriptions", *words]) == 0
    lines = [line.strip().split("  ", 1) for line in capsys.readouterr().out.splitlines()[1:]]
    return {name: value.strip() for name, value in lines}


def test_figures_are_those_of_the_table(
    shop: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captions = ["a dog runs", "a dog runs", "a cat", "two <b>birds</b> fly over it", "a cat"]
    rows = [
        shop.description(
            f"{number}.jpg", caption=text, finished=number > 0, regions=[shop.region([0, 0, 9, 9])] * number
        )
        for number, text in enumerate(captions)
    ]
    table = shop.write_table(tmp_path / "t", "descriptions", rows, [Reason.EMPTY])

    found = inspected(capsys, table, "--examples", "2")

    assert found["images"] == "5 of 6 inputs, in 1 shards" and found["EMPTY"] == "1"
    assert found["different captions"] == "3 (60.0 %)"
    assert found["words a caption"] == "2 to 5, mean 3.0; 9 different words"
    assert found["unfinished"] == "1 (20.0 %)" and found["regions a picture"] == "mean 2.0"
    assert found["most frequent"] == "40.0 %  a cat" and found["40.0 %"] == "a dog runs"
    assert "one caption for so many" in found["remark"]


def test_an_empty_table_and_varied_captions_have_no_remark(
    shop: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "different captions" not in inspected(capsys, shop.write_table(tmp_path / "e", "descriptions", []))
    rows = [shop.description(f"{number}.jpg", caption=f"a {number}") for number in range(10)]
    found = inspected(capsys, "--table", shop.write_table(tmp_path / "t", "descriptions", rows))
    assert found["most frequent"] == "10.0 %  a 0" and "remark" not in found


@pytest.mark.parametrize(("words", "said"), [(["--examples", "-1"], "--examples -1"), ([], "no descriptions table")])
def test_a_mistake_is_one_sentence(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "descriptions", str(tmp_path), *words]) == 2
    assert said in (error := capsys.readouterr().err) and error.count("\n") == 1
