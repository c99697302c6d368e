"""Token files and split lists of Flickr8k and Flickr30k."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from vsalign.datasets.captions import read_captions
from vsalign.datasets.records import CaptionRecord
from vsalign.errors import ConfigurationError, InputError, MissingInputError, Reason


def write(folder: Path, content: str | bytes, name: str = "Flickr8k.token.txt") -> str:
    file = folder / name
    file.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return str(file)


@pytest.mark.parametrize(
    "caption", ["None", "null", "NA", 'He said ""hi""', '"an unclosed quote', "a, b\tc", "\u2028 line", "..."]
)
def test_captions_stay_strings_and_do_not_swallow_the_next_line(tmp_path: Path, caption: str) -> None:
    path = write(tmp_path, f"a.jpg#0\t{caption}\na.jpg#1\tA dog .\n")
    records, errors = read_captions(path).split()
    assert [record.text for record in records] == [caption.strip(), "A dog ."]
    assert [record.line for record in records] == [1, 2]
    assert errors == []


@pytest.mark.parametrize(
    "line",
    [
        b"a.jpg#1 no tab",
        b"a.jpg\tno number",
        b"#1\tno name",
        b"a.jpg#x\tno digit",
        "a.jpg#²\tno ASCII digit".encode(),
        b"a.jpg#1\t",
        b"a.jpg#1\t   ",
        b"a.jpg#1\tlatin-1 caf\xe9",
        b"a.jpg#0\tthe id of line 1",
    ],
)
def test_bad_line_is_reported_by_its_number_and_the_next_is_read(tmp_path: Path, line: bytes) -> None:
    path = write(tmp_path, b"a.jpg#0\tA dog .\n" + line + b"\nb.jpg#0\tA cat .\n")
    reading = read_captions(path)
    first, bad, last = reading
    assert isinstance(first, CaptionRecord)
    assert isinstance(last, CaptionRecord)
    assert (last.image_name, last.line) == ("b.jpg", 3)
    assert isinstance(bad, InputError)
    assert bad.reason is Reason.BAD_LINE
    assert "line 2" in bad.message
    assert bad.uri == f"{path}:2"
    assert (reading.counts["records"], reading.counts["errors"]) == (2, 1)


def test_names_keep_what_they_hold(tmp_path: Path) -> None:
    names = ["NAME.jpg.1", "a#b.jpg", "a[1].jpg", "a b.jpg", "sub/a.jpg", "a%20b.jpg"]
    path = write(tmp_path, "".join(f"{name}#0\tA dog .\r\n" for name in names))
    records, errors = read_captions(path).split()
    assert [record.image_name for record in records] == names
    assert [record.caption_id for record in records] == [f"{name}#0" for name in names]
    assert {record.text for record in records} == {"A dog ."}
    assert errors == []


def test_any_number_of_captions_a_picture_and_equal_texts_are_read(tmp_path: Path) -> None:
    counts = {"one": 1, "five": 5, "seven": 7}
    text = "".join(f"{name}.jpg#{k}\tsame words\n" for name, count in counts.items() for k in range(count))
    records, _ = read_captions(write(tmp_path, "\ufeff" + text + "\n  \n")).split()
    for name, count in counts.items():
        assert sum(record.image_name == f"{name}.jpg" for record in records) == count
    assert len({record.caption_id for record in records}) == 13


def test_published_split_lists_beside_the_file_are_found(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jpg#0\tx\nb.jpg#0\tx\nc.jpg#0\tx\nd.jpg#0\tx\n")
    write(tmp_path, "a.jpg\n", "Flickr_8k.trainImages.txt")
    write(tmp_path, "b.jpg\r\n\n", "Flickr_8k.devImages.txt")
    write(tmp_path, "c\n", "Flickr_8k.testImages.txt")
    reading = read_captions(path)
    records, _ = reading.split()
    assert [record.split for record in records] == ["train", "dev", "test", None]
    assert reading.counts["no_split"] == 1


def test_given_split_lists_win_and_val_is_called_dev(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jpg#0\tx\nb.jpg#0\tx\n")
    write(tmp_path, "a.jpg\nb.jpg\n", "Flickr_8k.trainImages.txt")
    own = write(tmp_path, "b.jpg\n", "mine.txt")
    records, _ = read_captions(path, splits={"val": own}).split()
    assert [record.split for record in records] == [None, "dev"]


def test_picture_in_two_split_lists_is_named_before_the_first_record(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jpg#0\tx\n")
    write(tmp_path, "z.jpg\na.jpg\n", "Flickr_8k.trainImages.txt")
    write(tmp_path, "a.jpg\n", "Flickr_8k.devImages.txt")
    with pytest.raises(ConfigurationError, match=r"a\.jpg is in the split train .* and in dev"):
        read_captions(path)


def test_two_lists_for_one_split_or_an_empty_list_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jpg#0\tx\n")
    write(tmp_path, "", "Flickr_8k.trainImages.txt")
    with pytest.raises(ConfigurationError, match="names no picture"):
        read_captions(path)
    write(tmp_path, "a.jpg\n", "other.trainImages.txt")
    with pytest.raises(ConfigurationError, match="two lists of the train split"):
        read_captions(path)


def test_missing_files_and_wrong_options_are_one_sentence(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jpg#0\tx\n")
    with pytest.raises(MissingInputError, match="absent"):
        read_captions(str(tmp_path / "absent.txt"))
    with pytest.raises(MissingInputError, match=r"absent\.txt"):
        read_captions(path, splits={"train": str(tmp_path / "absent.txt")})
    with pytest.raises(ConfigurationError, match="'csv' is unknown"):
        read_captions(path, format="csv")
    with pytest.raises(ConfigurationError, match="option split"):
        read_captions(path, split="train")
    for content in ("a.jpg#0\tx\n".encode("utf-16"), b"\xff\xd8\xff\xe0\0\0"):
        with pytest.raises(ConfigurationError, match="not UTF-8"):
            read_captions(write(tmp_path, content, "other.txt"))


def test_results_csv_of_flickr30k_is_read_by_pipes_alone(tmp_path: Path) -> None:
    text = 'image_name| comment_number| comment\n1.jpg| 0| A "man , sits | here .\n1.jpg| 4   A dog runs .\n'
    records, errors = read_captions(write(tmp_path, text, "results.csv")).split()
    assert [(record.caption_id, record.text, record.line) for record in records] == [
        ("1.jpg#0", 'A "man , sits | here .', 2)
    ]
    assert [error.uri.rpartition(":")[2] for error in errors] == ["3"]


def test_remote_files_are_read_with_their_lists() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({"/captions/t.txt": b"a.jpg#0\tx\n", "/captions/x.trainImages.txt": b"a.jpg\n"})
    records, _ = read_captions("memory://captions/t.txt").split()
    assert [record.split for record in records] == ["train"]
    with pytest.raises(MissingInputError, match="absent"):
        read_captions("memory://captions/absent.txt")


def test_local_names_with_glob_and_fragment_marks_are_literal(tmp_path: Path) -> None:
    write(tmp_path, "wrong.jpg#0\tx\n", "a1.txt")
    for name in ("a[1].txt", "a#1.txt", "a::1.txt", "a?1.txt"):
        records, _ = read_captions(write(tmp_path, "right.jpg#0\tx\n", name)).split()
        assert [record.image_name for record in records] == ["right.jpg"]


@pytest.mark.shared
def test_published_flickr8k_is_read_whole(shared: Path) -> None:
    records, errors = read_captions(str(shared / "data/flickr8k/Flickr8k.token.txt")).split()
    assert errors == []
    splits = [record.split for record in records]
    assert (len(records), splits.count("train"), splits.count("dev")) == (35000, 30000, 5000)
    assert len({record.caption_id for record in records}) == 35000
