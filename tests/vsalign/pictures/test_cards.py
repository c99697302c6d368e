"""A picture's card as a browser's parser reads it: texts stay texts, boxes lie where they belong."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from vsalign.pictures import write_gallery
from vsalign.pictures.thumbnails import smaller

HOSTILE = [
    "<script>alert(1)</script>",
    "</h2><img src=x onerror=alert(1)>",
    "\"quotes\" 'and' `ticks` & &amp; &lt;b&gt;",
    "\u202eright to left \u2066 unclosed",
    "line\nbreak\u2028 and\ttab",
    "${title} $cards %s {0}",
    "]]> --> <!-- {{ }}",
    "x" * 10_000,
    "كلب يجري 犬 🐕",
    "",
]


def test_hostile_texts_and_names_stay_text(tmp_path: Path, shop: SimpleNamespace) -> None:
    rows = []
    for number, text in enumerate(HOSTILE):
        name = f"{number} " + text[:60].replace("/", "∕")
        picture = shop.save_picture(tmp_path / "in" / name)
        rows.append(
            shop.description(
                picture,
                image_id=name,
                caption=text,
                regions=[shop.region([0, 0, 9, 9], text), shop.region([5, 5, 20, 20])],
            )
        )
    captions = [
        {"image_id": row["image_id"], "caption_id": f"{n}#0", "split": "", "text": row["caption"], "tokens": []}
        for n, row in enumerate(rows)
    ]
    table = shop.write_table(tmp_path / "descriptions", "descriptions", rows)
    people = shop.write_table(tmp_path / "captions", "captions", captions)
    out = tmp_path / "out"
    done = write_gallery(table, str(out), captions=people, title=HOSTILE[1], page_size=4)
    assert done.with_sentences == len(HOSTILE)
    pages = shop.read_pages(out / "index.html")
    cards = [card for _, page in pages for card in page.find("article", "card")]
    assert [card.find("h2")[0].text for card in cards] == [text or "no caption" for text in HOSTILE]
    assert [card.find("button", "region")[0].find("span")[0].text for card in cards] == [
        text or "no caption" for text in HOSTILE
    ]
    assert [card.find("div", "human")[0].find("li")[0].text for card in cards] == HOSTILE
    assert [card.find("img")[0].attributes["alt"] for card in cards] == HOSTILE
    assert [card.find(css="name")[0].text for card in cards] == [row["image_id"] for row in rows]
    links = [card.find("a", "name")[0].attributes["href"] for card in cards]
    assert [unquote(urlsplit(link).path) for link in links] == [row["uri"] for row in rows]
    for path, page in pages:
        assert page.find("h1")[0].text.startswith(HOSTILE[1])
        assert [script.attributes["src"].rsplit("/", 1)[-1] for script in page.find("script")] == ["gallery.js"]
        assert not [script for script in page.find("script") if script.text]
        handlers = [name for element in page.find() for name in element.attributes if name.startswith("on")]
        assert handlers == [], path
    files = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    named = r"index\.html|gallery-[0-9a-f]{12}/(gallery\.(css|js)|(page|search)-\d{4}\.\w+|thumbs/\d{4}/\d{7}\.jpg)"
    assert [name for name in files if not re.fullmatch(named, name)] == []


def test_unreadable_pictures_are_placeholders_with_their_reason(tmp_path: Path, shop: SimpleNamespace) -> None:
    good = shop.save_picture(tmp_path / "good.jpg")
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:400])
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    (tmp_path / "empty.jpg").touch()
    names = ["good.jpg", "cut.jpg", "page.jpg", "empty.jpg", "<b>missing.jpg"]
    rows = [shop.description(tmp_path / name, regions=[shop.region([1, 1, 9, 9])]) for name in names]
    table = shop.write_table(tmp_path / "descriptions", "descriptions", rows)
    done = write_gallery(table, str(tmp_path / "out"))
    cards = shop.read_pages(tmp_path / "out" / "index.html")[0][1].find("article")
    reasons = [card.find("code", "reason")[0].text if card.find("code", "reason") else "" for card in cards]
    assert reasons == ["", "TRUNCATED", "NOT_IMAGE", "EMPTY", "NOT_FOUND"]
    assert [len(card.find("img")) for card in cards] == [1, 0, 0, 0, 0]
    assert "<b>missing.jpg" in cards[4].find(css="message")[0].text
    assert [card.find("button", "region")[0].text for card in cards] == ["1a dog"] * 5
    assert done.unreadable == {"EMPTY": 1, "NOT_FOUND": 1, "NOT_IMAGE": 1, "TRUNCATED": 1}


def test_boxes_of_a_turned_picture_lie_on_the_upright_one(tmp_path: Path, shop: SimpleNamespace) -> None:
    stored = Image.new("RGB", (80, 40), "white")
    stored.paste("red", (0, 0, 20, 10))  # after a quarter turn clockwise (orientation 6): top right
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    row = shop.description(tmp_path / "turned.jpg", width=40, height=80, regions=[shop.region([30, 0, 40, 20], "red")])
    table = shop.write_table(tmp_path / "descriptions", "descriptions", [row])
    done = write_gallery(table, str(tmp_path / "out"))
    card = shop.read_pages(tmp_path / "out" / "index.html")[0][1].find("article")[0]
    assert done.resized == 0
    assert shop.style_of(card.find("i", "box")[0]) == {"left": 75.0, "top": 0.0, "width": 25.0, "height": 25.0}
    assert (card.find("img")[0].attributes["width"], card.find("img")[0].attributes["height"]) == ("40", "80")
    with Image.open(tmp_path / "out" / card.find("img")[0].attributes["src"]) as thumbnail:
        assert thumbnail.size == (40, 80) and thumbnail.getexif().get(0x0112) is None
        inside, outside = thumbnail.getpixel((35, 10)), thumbnail.getpixel((10, 60))
    assert inside[0] > 200 and inside[1] < 60 and min(outside) > 240


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000), (20_000, 1000)])
def test_a_thumbnail_has_no_side_under_one_px(size: tuple[int, int]) -> None:
    found = smaller(np.zeros((size[1], size[0], 3), np.uint8), 100).size
    assert max(found) == min(100, max(size)) and min(found) == max(1, round(min(size) * max(found) / max(size)))


def test_boxes_are_scaled_with_large_thumbnails_and_unusable_ones_are_said(
    tmp_path: Path, shop: SimpleNamespace
) -> None:
    picture = shop.save_picture(tmp_path / "wide.jpg", 1000, 200)
    boxes = [[100, 50, 300, 150], [-50, 100, 2000, 900], [float("nan"), 0, 1, 1], [0, 0, 1000, 200]]
    row = shop.description(picture, width=1000, height=200, regions=[shop.region(box) for box in boxes])
    table = shop.write_table(tmp_path / "descriptions", "descriptions", [row])
    write_gallery(table, str(tmp_path / "out"), thumb_px=100)
    card = shop.read_pages(tmp_path / "out" / "index.html")[0][1].find("article")[0]
    styles = {box.attributes["data-n"]: shop.style_of(box) for box in card.find("i", "box")}
    assert styles == {
        "1": {"left": 10.0, "top": 25.0, "width": 20.0, "height": 50.0},
        "2": {"left": 0.0, "top": 50.0, "width": 100.0, "height": 50.0},
        "4": {"left": 0.0, "top": 0.0, "width": 100.0, "height": 100.0},
    }
    assert [button.text for button in card.find("button", "region")][2] == "3a dog (no box)"
    classes = {box.attributes["data-n"]: box.attributes["class"] for box in card.find("i", "box")}
    assert classes == {"1": "box c1", "2": "box c2", "4": "box c0 quiet"}
    with Image.open(tmp_path / "out" / card.find("img")[0].attributes["src"]) as thumbnail:
        assert thumbnail.size == (100, 20)


def test_picture_of_another_size_than_its_boxes_is_marked(tmp_path: Path, shop: SimpleNamespace) -> None:
    picture = shop.save_picture(tmp_path / "a.jpg", 40, 30)
    table = shop.write_table(
        tmp_path / "descriptions", "descriptions", [shop.description(picture, width=80, height=60)]
    )
    done = write_gallery(table, str(tmp_path / "out"))
    card = shop.read_pages(tmp_path / "out" / "index.html")[0][1].find("article")[0]
    assert done.resized == 1 and "the picture is 40 × 30 px now" in card.text


def test_human_phrases_have_the_number_and_colour_of_their_box(tmp_path: Path, shop: SimpleNamespace) -> None:
    picture = shop.save_picture(tmp_path / "a.jpg")
    row = shop.description(picture, regions=[shop.region([0, 0, 40, 30], "all"), shop.region([10, 10, 30, 20], "dog")])
    held = {"image_id": "a.jpg", "uri": str(picture), "scores": [1, 1, 1], "features": [b"\0" * 8] * 3}
    # The regions table was made from a copy of twice the size.
    held |= {"width": 80, "height": 60, "boxes": [[0, 0, 80, 60], [4, 4, 8, 8], [20, 20, 60, 40]]}
    sentence = {
        "image_id": "a.jpg",
        "caption_id": "a#0",
        "split": "dev",
        "text": "A dog here",
        "tokens": ["a", "dog", "here"],
    }
    segments = [{"start": 0, "end": 2, "region": 2, "score": 1.0}, {"start": 2, "end": 3, "region": 1, "score": 1.0}]
    write_gallery(
        shop.write_table(tmp_path / "descriptions", "descriptions", [row]),
        str(tmp_path / "out"),
        captions=shop.write_table(tmp_path / "captions", "captions", [sentence]),
        segments=shop.write_table(
            tmp_path / "segments", "segments", [{"image_id": "a.jpg", "caption_id": "a#0", "segments": segments}]
        ),
        regions=shop.write_table(tmp_path / "regions", "regions", [held]),
    )
    card = shop.read_pages(tmp_path / "out" / "index.html")[0][1].find("article")[0]
    phrases = [(p.text, p.attributes["data-n"], p.attributes["class"]) for p in card.find("span", "phrase")]
    assert phrases == [("A dog", "2", "phrase c1"), ("here", "3", "phrase c2")]
    assert [b.attributes["class"] for b in card.find("button", "region")] == ["region c0", "region c1"]
    third = [shop.style_of(box) for box in card.find("i", "box") if box.attributes["data-n"] == "3"]
    assert third == [{"left": 5.0, "top": 6.667, "width": 5.0, "height": 6.667}]
