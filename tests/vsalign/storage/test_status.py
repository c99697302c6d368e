"""A table's state from another terminal."""

from __future__ import annotations

import pytest

from vsalign.cli import main
from vsalign.errors import MissingInputError
from vsalign.storage import Folder, Stage
from vsalign.storage.layout import MANIFEST, PLAN
from vsalign.storage.status import table_status


def test_a_table_is_counted_from_its_first_sign_to_its_manifest(anywhere) -> None:
    made = anywhere.other(shards=[["ant", "!EMPTY"], ["bee"], ["cat", "!EMPTY", "!CORRUPT"]])
    with pytest.raises(MissingInputError, match="there is no table"):
        table_status(made.url)
    Stage(made.output)
    listed = table_status(made.url)
    assert (listed.planned, listed.done, listed.complete, listed.seconds_since) == (None, 0, False, None)
    made.run()

    whole = table_status(made.url)

    assert (whole.table, whole.complete, whole.planned, whole.done) == ("captions", True, 3, 3)
    assert (whole.rows, whole.inputs, whole.errors) == (3, 6, {"CORRUPT": 1, "EMPTY": 2})
    assert whole.seconds_since is None or 0 <= whole.seconds_since < 600
    folder = Folder(made.url)
    folder.remove(MANIFEST)
    folder.remove("part-00001.g0.parquet")
    part = table_status(made.url)
    assert (part.complete, part.done, part.planned, part.inputs) == (False, 2, 3, 5)


def test_the_command_says_it(captions, capsys: pytest.CaptureFixture[str]) -> None:
    captions.run()
    assert main(["status", captions.url]) == 0
    said = capsys.readouterr().out
    assert said.startswith("captions table: complete\n") and "inputs" in said
    folder = Folder(captions.url)
    folder.remove(MANIFEST)
    assert main(["status", "--table", captions.url]) == 0
    assert "in the making, 100.0 % of its shards" in capsys.readouterr().out
    folder.remove(PLAN)
    assert main(["status", captions.url]) == 0
    assert "its inputs are still listed" in capsys.readouterr().out
    assert main(["status", captions.url + "-absent"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
