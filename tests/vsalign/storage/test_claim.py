"""Whose an output folder is: what another configuration may not touch, and what --overwrite may delete."""

from __future__ import annotations

import pytest

from vsalign import tables
from vsalign.errors import ConfigurationError, SchemaVersionError
from vsalign.storage import Folder, Stage, TableReader
from vsalign.storage.layout import deletion_order


def test_another_configuration_is_refused_with_the_difference_named(anywhere) -> None:
    anywhere.run()
    other = anywhere.other(configuration={"input": "photos", "extractor": {"top_k": 5}, "size": 448})
    with pytest.raises(ConfigurationError) as refused:
        other.run()
    assert "extractor.top_k: there 19, asked 5" in str(refused.value)
    assert "size: there None, asked 448" in str(refused.value)
    assert "input" not in str(refused.value)
    assert "--overwrite" in str(refused.value)


def test_a_difference_is_seen_under_a_property_of_the_same_name(captions) -> None:
    """Configuration and properties both hold an `extractor`; neither hides the other."""
    captions.other(properties={"extractor": {"dim": 4}}).run()
    other = captions.other(
        configuration={"input": "photos", "extractor": {"top_k": 5}}, properties={"extractor": {"dim": 4}}
    )
    with pytest.raises(ConfigurationError, match="extractor.top_k: there 19, asked 5"):
        other.run()
    with pytest.raises(ConfigurationError, match="extractor.dim: there 4, asked 8"):
        captions.other(properties={"extractor": {"dim": 8}}).run()


def test_tuples_and_lists_are_the_same_configuration(captions) -> None:
    captions.other(configuration={"splits": ("a", "b")}).run()
    assert captions.other(configuration={"splits": ["a", "b"]}).run().rows_made == 0


def test_the_order_of_names_makes_no_other_configuration(captions) -> None:
    """They are held sorted, in lists too."""
    captions.other(configuration={"models": [{"weights": "1", "name": "a"}]}).run()
    assert captions.other(configuration={"models": [{"weights": "1", "name": "a"}]}).run().rows_made == 0
    with pytest.raises(ConfigurationError, match="models: there"):
        captions.other(configuration={"models": [{"weights": "2", "name": "a"}]}).run()


def test_another_table_and_another_version_are_refused(captions, monkeypatch) -> None:
    captions.run()
    from dataclasses import replace

    with pytest.raises(ConfigurationError, match="holds a captions table, not segments"):
        Stage(replace(captions.output, table="segments", schema=tables.SEGMENTS))
    monkeypatch.setitem(tables.SCHEMA_VERSIONS, "captions", 2)
    with pytest.raises(SchemaVersionError, match="schema version 1, this vsalign writes 2"):
        captions.run()


def test_overwrite_starts_anew(anywhere) -> None:
    anywhere.run()
    new = anywhere.other(configuration={"input": "paintings"}, shards=[["fox"]])
    assert new.run(overwrite=True).rows == 1
    assert TableReader(new.url, "captions").read()["image_id"].to_pylist() == ["photos/fox.jpg"]
    names = Folder(new.url).names()
    assert len(names) == 5 and not any(name.startswith("errors/") for name in names)


def test_overwrite_deletes_our_files_alone(captions) -> None:
    captions.run()
    folder = Folder(captions.url)
    nested = captions.other(url=f"{captions.url}/nested")
    nested.run()
    foreign = ["notes.txt", "part-1.parquet", "errors/mine.parquet", "_plan/mine.parquet", ".photo.jpg.tmp"]
    for name in foreign:
        folder.write_new(name, b"mine")
    captions.other(shards=[["fox"]]).run(overwrite=True)
    assert set(foreign) <= set(folder.names())
    assert TableReader(nested.url, "captions").read().num_rows == 5


def test_overwrite_refuses_a_folder_that_is_no_table(anywhere) -> None:
    folder = Folder(anywhere.url)
    folder.write_new("holiday.jpg", b"mine")
    with pytest.raises(ConfigurationError, match="is no table of vsalign"):
        anywhere.run(overwrite=True)
    assert folder.names() == ["holiday.jpg"]


def test_overwrite_of_nothing_is_a_start(anywhere) -> None:
    assert anywhere.run(overwrite=True).rows == 5


@pytest.mark.parametrize("deleted", range(8))
def test_an_overwrite_killed_half_way_is_never_taken_for_the_new_table(captions, deleted) -> None:
    captions.run()
    folder = Folder(captions.url)
    for name in sorted(folder.names(), key=deletion_order)[:deleted]:
        folder.remove(name)
    new = captions.other(configuration={"input": "paintings"}, shards=[["fox"]])
    if deleted < 8:
        with pytest.raises(ConfigurationError, match="input: there 'photos', asked 'paintings'"):
            new.run()
    assert captions.run().rows == 5  # the old command goes on from what is left
    assert new.run(overwrite=True).rows == 1


def test_shards_without_their_run_file_are_not_adopted(captions) -> None:
    """They may be another configuration's."""
    captions.run()
    Folder(captions.url).remove("_run.json")
    with pytest.raises(ConfigurationError, match="no _run.json that says of which"):
        captions.run()
    with pytest.raises(ConfigurationError, match="is no table of vsalign"):
        captions.run(overwrite=True)
