"""What a person does on the page."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import faults, search, served
from tests.vsalign.search.conftest import HOSTILE_CAPTIONS, SCENES, Archive
from vsalign.search.removed import remove
from vsalign.storage import Folder, TableReader

SENTENCE = "a small red circle"


def test_a_sentence_finds_pictures_and_a_click_shows_what_answers(page: Page, address: str) -> None:
    search(page, address, SENTENCE)
    expect(page).to_have_url(re.compile(r"\?q=a\+small\+red\+circle$"))
    expect(page.locator(".tile")).to_have_count(SCENES)
    expect(page.get_by_role("status")).to_have_text(f"{SCENES} pictures, the best first.")
    page.wait_for_function("[...document.querySelectorAll('.tile img')].slice(0, 4).every((i) => i.naturalWidth > 0)")
    page.locator(".tile").nth(1).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    said = dialog.locator(".phrase").all_inner_texts()
    assert " ".join(said) == SENTENCE
    expect(dialog.locator(".box")).to_have_count(len(said))
    colours = dialog.evaluate(
        "(d) => [...d.querySelectorAll('.phrase, .box')].map((e) => getComputedStyle(e).getPropertyValue('--c'))"
    )
    assert colours[: len(said)] != [""] * len(said) and set(colours[: len(said)]) == set(colours[len(said) :])
    page.wait_for_function("document.querySelector('#picture').naturalWidth > 0")


def test_pointing_at_a_phrase_lights_its_box_up(page: Page, address: str) -> None:
    search(page, address, SENTENCE)
    page.locator(".tile").first.click()
    expect(page.locator(".box.on")).to_have_count(0)
    page.locator(".phrase").first.hover()
    expect(page.locator(".box.on")).to_have_count(1)
    page.locator("#facts").hover()
    expect(page.locator(".box.on")).to_have_count(0)
    page.locator(".phrase").first.focus()
    expect(page.locator(".box.on")).to_have_count(1)


def test_back_forward_and_bookmarks_work(page: Page, address: str) -> None:
    search(page, address, SENTENCE)
    first = page.url
    page.get_by_role("searchbox").fill("a green square")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page).to_have_url(re.compile("green"))
    page.go_back()
    expect(page.get_by_role("searchbox")).to_have_value(SENTENCE)
    expect(page.locator(".tile")).to_have_count(SCENES)
    page.go_forward()
    expect(page.get_by_role("searchbox")).to_have_value("a green square")
    page.goto(first)
    expect(page.locator(".tile")).to_have_count(SCENES)
    page.locator(".tile").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page).to_have_url(first)


def test_the_keyboard_is_enough(page: Page, address: str) -> None:
    search(page, address, SENTENCE)
    page.keyboard.press("ArrowDown")
    expect(page.locator(".tile").first).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".tile").nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".tile").nth(5)).to_be_focused()
    page.keyboard.press("Enter")
    dialog, name = page.get_by_role("dialog"), page.locator("#shown-name")
    expect(dialog).to_be_visible()
    expect(name).not_to_be_empty()
    before = name.inner_text()
    page.keyboard.press("ArrowRight")
    expect(name).not_to_have_text(before)
    page.keyboard.press("ArrowLeft")
    expect(name).to_have_text(before)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator(".tile").nth(5)).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_more_like_a_part_that_is_dragged(page: Page, address: str) -> None:
    search(page, address, SENTENCE)
    page.locator(".tile").nth(2).click()
    name = page.locator("#shown-name").inner_text()
    frame = page.locator("#frame").bounding_box()
    assert frame
    page.mouse.move(frame["x"] + 0.25 * frame["width"], frame["y"] + 0.25 * frame["height"])
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.75 * frame["width"], frame["y"] + 0.5 * frame["height"], steps=4)
    page.mouse.up()
    page.get_by_role("button", name="More like this part").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    sides = re.search(r"box=([\d.]+)%2C([\d.]+)%2C([\d.]+)%2C([\d.]+)", page.url)
    assert sides and [float(side) for side in sides.groups()] == pytest.approx([80, 80, 240, 160], abs=2)
    page.locator(".tile").first.click()
    expect(page.locator("#shown-name")).to_have_text(name)
    page.get_by_role("button", name="More like this picture").click()
    expect(page).to_have_url(re.compile(r"like=\d+&key=[0-9a-f]{8}$"))
    page.get_by_role("button", name="Search by words again").click()
    expect(page).to_have_url(f"{address}/")


def test_filters_are_part_of_the_address(page: Page, address: str) -> None:
    search(page, address, SENTENCE)
    page.get_by_text("Filters").click()
    page.get_by_label("Path").fill("holiday/")
    page.keyboard.press("Enter")
    expect(page.locator(".tile")).to_have_count(2)
    expect(page).to_have_url(re.compile("path=holiday"))
    page.reload()
    expect(page.get_by_label("Path")).to_have_value("holiday/")
    page.get_by_label("Width at least").fill("5000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Nothing is found there: change the filters.")


def test_every_state_is_told(page: Page, address: str, archive: Archive, tmp_path: Path) -> None:
    page.goto(address)
    expect(page.get_by_role("status")).to_have_text(f"{SCENES} photographs: say what one of them shows.")
    for sentence, told in (("frobnicate", "knows none of these words"), ("?!", "no words"), ("a red frob", "frob.")):
        page.get_by_role("searchbox").fill(sentence)
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text(told)
    page.route("**/api/search*", lambda route: route.abort())
    page.get_by_role("searchbox").fill("a circle")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("does not answer")
    index = shutil.copytree(archive.index, tmp_path / "index")
    ids = TableReader(archive.index, "index").read(["image_id"])["image_id"].to_pylist()
    remove(Folder(str(index)), ids)
    with served(str(index)) as emptied:
        page.goto(emptied)
        expect(page.get_by_role("status")).to_have_text("The index has no photographs.")


def test_a_picture_that_is_gone_says_so(page: Page, archive: Archive, tmp_path: Path) -> None:
    with served(archive.index, str(tmp_path)) as address:
        search(page, address, SENTENCE)
        expect(page.locator(".missing").first).to_contain_text("not where it was indexed")
        page.locator(".tile").first.click()
        expect(page.get_by_role("alert")).to_contain_text("not where it was indexed")


def test_the_grid_loads_as_it_is_scrolled_without_a_shift(new_page: Callable[..., Page], address: str) -> None:
    page = new_page(width=360, height=500)
    page.add_init_script(
        "localStorage.clear; new PerformanceObserver((l) => { for (const e of l.getEntries())"
        " window.shift = (window.shift ?? 0) + (e.hadRecentInput ? 0 : e.value); })"
        ".observe({ type: 'layout-shift', buffered: true });"
    )
    parts: list[str] = []
    page.route(
        "**/api/search*",
        lambda route: (
            parts.append(route.request.url),
            route.continue_(url=route.request.url.replace("limit=24", "limit=4")),
        )[1],
    )
    search(page, address, SENTENCE)
    page.wait_for_timeout(300)
    assert page.locator(".tile").count() < SCENES
    for _ in range(6):
        page.mouse.wheel(0, 2000)
        page.wait_for_timeout(200)
    expect(page.locator(".tile")).to_have_count(SCENES)
    assert len(parts) == 4
    assert page.evaluate("window.shift ?? 0") < 0.05


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_one_way(new_page: Callable[..., Page], address: str, dark: bool) -> None:
    page = new_page(width=360, height=640, dark=dark, has_touch=True, is_mobile=True)
    search(page, address, SENTENCE)
    wide = "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
    assert page.evaluate(wide) <= 360
    page.get_by_text("Filters").click()
    assert page.evaluate(wide) <= 360
    for number in range(SCENES):
        page.locator(".tile").nth(number).click()
        assert page.evaluate("document.querySelector('dialog').scrollWidth") <= 360
        page.get_by_role("button", name="Close").click()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", background)[:3])) < 60) is dark


def test_hostile_captions_and_names_stay_text(page: Page, address: str, archive: Archive) -> None:
    search(page, address, SENTENCE)
    tags = "[...document.querySelectorAll('#results *, dialog *')].map((e) => e.localName)"
    assert set(page.evaluate(tags)) <= {"li", "button", "span", "img", "div", "p", "ul", "section", "h2"}
    said, names = set(), set()
    for number in range(SCENES):
        page.locator(".tile").nth(number).click()
        said.add(page.locator("#caption").text_content())
        names.add(page.locator("#shown-name").text_content())
        page.keyboard.press("Escape")
    assert set(HOSTILE_CAPTIONS) <= said
    assert names == set(TableReader(archive.index, "index").read(["image_id"])["image_id"].to_pylist())
    page.wait_for_function("!history.state?.shown")  # closing goes back in the history, which would end what follows
    hostile = "<img src=x onerror=document.title='taken'> red circle"
    page.goto(f"{address}/?q={hostile}&path=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    expect(page.get_by_role("status")).to_contain_text("Nothing is found there")
    assert "taken" not in page.title().partition("onerror")[0] and page.locator("main img").count() == 0


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_no_serious_fault(new_page: Callable[..., Page], address: str, dark: bool) -> None:
    page = new_page(dark=dark)
    page.goto(address)
    page.get_by_role("status").filter(has_text="photographs").wait_for()
    assert faults(page) == []
    search(page, address, "a small red frobnicate and a circle")
    page.get_by_text("Filters").click()
    assert faults(page) == []
    page.locator(".tile").nth(1).click()
    page.locator(".phrase").first.click()
    assert faults(page) == []
    page.get_by_role("button", name=re.compile("More like this")).click()
    page.get_by_text("Search by words again").wait_for()
    page.locator(".tile").first.wait_for()
    assert faults(page) == []


def test_the_token_leaves_the_address_and_stays_in_a_cookie(page: Page, archive: Archive) -> None:
    token = "0123456789abcdef-token"
    with served(archive.index, token=token) as address:
        page.goto(f"{address}/?token={token}&q=a+red+circle")
        expect(page.locator(".tile")).to_have_count(SCENES)
        expect(page).to_have_url(f"{address}/?q=a+red+circle")
        assert token not in page.evaluate("document.cookie")
        page.reload()
        expect(page.locator(".tile")).to_have_count(SCENES)
