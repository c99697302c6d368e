"""The gallery as a person gets it: every picture once, nothing from outside, replaced as a whole."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from PIL import Image

from vsalign.cli import main as cli
from vsalign.errors import ConfigurationError, MissingInputError, Reason, VsalignError
from vsalign.pictures import gallery as gallery_module
from vsalign.pictures import write_gallery


def test_pages_hold_every_picture_once_and_lead_to_one_another(tmp_path: Path, shop: SimpleNamespace) -> None:
    picture = shop.save_picture(tmp_path / "a.jpg")
    rows = [shop.description(picture, image_id=f"{n}.jpg", caption=f"caption {n}") for n in range(11)]
    table = shop.write_table(tmp_path / "descriptions", "descriptions", rows)
    done = write_gallery(table, str(tmp_path / "out"), page_size=4)
    pages = shop.read_pages(tmp_path / "out" / "index.html")
    counts = [len(page.find("article")) for _, page in pages]
    assert (done.pages, done.pictures, counts) == (3, 11, [4, 4, 3])
    names = [name.text for _, page in pages for name in page.find(css="name")]
    assert names == [row["image_id"] for row in rows]
    for path, page in pages:
        for element in page.find("img") + page.find("script") + page.find("link"):
            target = element.attributes.get("src") or element.attributes["href"]
            assert (path.parent / target).is_file(), target
        for link in page.find("nav")[0].find("a"):
            assert (path.parent / link.attributes["href"]).is_file()


def test_search_files_name_the_page_of_every_picture(
    tmp_path: Path, shop: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = importlib.import_module("vsalign.pictures.writer")
    for module in (writer, gallery_module):
        monkeypatch.setattr(module, "SEARCH_FILE_ROWS", 3)
    picture = shop.save_picture(tmp_path / "a.jpg")
    rows = [shop.description(picture, image_id=f"{n}.jpg", caption=f"<b>{n}\u2028") for n in range(7)]
    table = shop.write_table(tmp_path / "descriptions", "descriptions", rows)
    write_gallery(table, str(tmp_path / "out"), page_size=2)
    body = shop.read_pages(tmp_path / "out" / "index.html")[0][1].find("body")[0]
    files = sorted((tmp_path / "out").glob("gallery-*/search-*.js"))
    assert len(files) == int(body.attributes["data-search-files"]) == 3
    entries = []
    for file in files:
        text = file.read_bytes()
        assert b"<" not in text and text.isascii()
        entries += json.loads(text.decode().removeprefix("vsalignSearch(").removesuffix(");\n"))
    assert entries == [[n // 2 + 1, f"<b>{n} {n}.jpg"] for n in range(7)]


def test_head_says_what_the_table_is_like_and_what_went_wrong(tmp_path: Path, shop: SimpleNamespace) -> None:
    picture = shop.save_picture(tmp_path / "a.jpg")
    captions = ["a dog", "a <cat>", "a <cat>", "a <cat>"]
    rows = [
        shop.description(picture, image_id=f"{n}.jpg", caption=text, finished=n > 0) for n, text in enumerate(captions)
    ]
    errors = [Reason.TRUNCATED, Reason.NOT_IMAGE, Reason.TRUNCATED]
    table = shop.write_table(tmp_path / "descriptions", "descriptions", rows, errors)
    done = write_gallery(table, str(tmp_path / "out"), limit=2)
    head = shop.read_pages(tmp_path / "out" / "index.html")[0][1].find("dl")[0]
    tiles = [
        (tile.find("dt")[0].text, [part.text for part in tile.find("dd")[0].children]) for tile in head.find("div")
    ]
    assert tiles == [
        ("pictures", ["4", "the first 2 are shown here"]),
        ("distinct captions", ["2"]),
        ("share the most frequent caption", ["75.0 %", "a <cat>"]),
        ("caption cut at the length limit", ["1"]),
        ("inputs could not be used", ["3", "TRUNCATED 2, NOT_IMAGE 1"]),
    ]
    assert (done.pictures, done.facts.pictures) == (2, 4)


def test_nothing_comes_from_outside(tmp_path: Path, shop: SimpleNamespace) -> None:
    picture = shop.save_picture(tmp_path / "a.jpg")
    rows = [shop.description(picture), shop.description("https://example.org/x.jpg", image_id="b.jpg")]
    table = shop.write_table(tmp_path / "descriptions", "descriptions", rows)
    write_gallery(table, str(tmp_path / "out"), images=str(tmp_path))
    page = shop.read_pages(tmp_path / "out" / "index.html")[0][1]
    targets = [e.attributes[name] for e in page.find() for name in ("href", "src") if name in e.attributes]
    assert targets and all(
        urlsplit(target).scheme in ("", "file") and not target.startswith("//") for target in targets
    )
    for file in (tmp_path / "out").rglob("*.[jc]s*"):
        assert not re.search(r"https?:|//\w+\.|@import|url\(|fetch\(|XMLHttpRequest|import\(", file.read_text()), file
    policy = [meta.attributes["content"] for meta in page.find("meta") if "http-equiv" in meta.attributes]
    assert policy[0].startswith("default-src 'none';")


def test_new_gallery_replaces_the_old_one_and_what_killed_runs_left(tmp_path: Path, shop: SimpleNamespace) -> None:
    picture = shop.save_picture(tmp_path / "a.jpg")
    out = tmp_path / "out"
    first = shop.write_table(tmp_path / "first", "descriptions", [shop.description(picture, caption="old")])
    second = shop.write_table(tmp_path / "second", "descriptions", [shop.description(picture, caption="new")])
    write_gallery(first, str(out))
    left = out / "gallery-0123456789ab" / "thumbs" / "0000" / "0000000.jpg"
    left.parent.mkdir(parents=True)
    left.touch()
    (out / "notes.txt").write_text("mine")
    write_gallery(second, str(out))
    assert [card.find("h2")[0].text for card in shop.read_pages(out / "index.html")[0][1].find("article")] == ["new"]
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith("gallery-")) == [
        "index.html",
        "notes.txt",
    ]
    assert len(list(out.glob("gallery-*"))) == 1 and not left.exists()


def test_old_gallery_stays_whole_while_a_new_one_fails(
    tmp_path: Path, shop: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = shop.save_picture(tmp_path / "a.jpg")
    out = tmp_path / "out"
    table = shop.write_table(tmp_path / "descriptions", "descriptions", [shop.description(picture, caption="old")])
    write_gallery(table, str(out))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vsalign.pictures.writer.page_html", full)
    with pytest.raises(VsalignError, match=r"cannot be written to .*No space left on device.*another --output"):
        write_gallery(table, str(out))
    pages = shop.read_pages(out / "index.html")
    assert (out / pages[0][1].find("img")[0].attributes["src"]).is_file()


def test_page_of_someone_else_is_not_overwritten(tmp_path: Path, shop: SimpleNamespace) -> None:
    table = shop.write_table(tmp_path / "descriptions", "descriptions", [])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("<p>mine</p>")
    with pytest.raises(ConfigurationError, match="is no gallery of vsalign"):
        write_gallery(table, str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["index.html"]


def test_empty_table_gives_a_page_that_says_so(tmp_path: Path, shop: SimpleNamespace) -> None:
    done = write_gallery(shop.write_table(tmp_path / "d", "descriptions", []), str(tmp_path / "out"))
    page = shop.read_pages(tmp_path / "out" / "index.html")[0][1]
    assert done.pages == 1 and page.find("main")[0].text.strip() == "The table has no pictures."


def test_command_prints_its_summary_and_refuses_in_one_sentence(
    tmp_path: Path, shop: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    table = shop.write_table(tmp_path / "d", "descriptions", [shop.description(shop.save_picture(tmp_path / "a.jpg"))])
    arguments = ["gallery", "--descriptions", table, "--output", str(tmp_path / "out")]
    assert cli([*arguments, "--page-size", "5"]) == 0
    assert str(tmp_path / "out" / "index.html") in capsys.readouterr().out
    for extra in (["--segments", table], ["--page-size", "0"], ["--limit", "0"], ["--captions", table]):
        assert cli([*arguments, *extra]) == 2
        assert re.fullmatch(r"error: [^\n]+\n", capsys.readouterr().err)
    with pytest.raises(MissingInputError, match="there is no descriptions table"):
        write_gallery(str(tmp_path / "nowhere"), str(tmp_path / "out"))


@pytest.mark.shared
def test_gallery_of_real_photographs_shows_each_of_them(tmp_path: Path, shop: SimpleNamespace, shared: Path) -> None:
    photographs = sorted((shared / "data" / "flickr8k" / "images").glob("*.jpg"))[:25]
    rows = [
        shop.description(path, width=224, height=224, regions=[shop.region([10, 20, 120, 200])]) for path in photographs
    ]
    done = write_gallery(shop.write_table(tmp_path / "d", "descriptions", rows), str(tmp_path / "out"), page_size=10)
    assert (done.pictures, done.pages, done.unreadable, done.resized) == (25, 3, {}, 0)
    images = [
        (path.parent, i) for path, page in shop.read_pages(tmp_path / "out" / "index.html") for i in page.find("img")
    ]
    for original, (folder, image) in zip(photographs, images, strict=True):
        with Image.open(original) as before, Image.open(folder / image.attributes["src"]) as after:
            assert before.size == after.size
            small = [picture.convert("L").resize((8, 8)) for picture in (before, after)]
            assert max(abs(a - b) for a, b in zip(*(s.tobytes() for s in small), strict=True)) < 12
