"""docs/search.png: a search over the photographs of `make demo`, and the picture that is found first.

python -m tests.browser.screenshot --index runs/demo/full/photographs/index
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.conftest import search, served

SENTENCE = "a man with a camera on a tripod"
SIZE = {"width": 1100, "height": 680}
GRID_ROWS = 460
"""px of the page above the second row of pictures."""
SCALE, COLOURS = 0.8, 256
"""So that it stays below 200 kB."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", required=True)
    parser.add_argument("--output", type=Path, default=Path("docs/search.png"))
    asked = parser.parse_args()
    with served(asked.index) as address, sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
        search(page, address, SENTENCE)
        page.wait_for_load_state("networkidle")
        grid = Image.open(io.BytesIO(page.screenshot())).crop((0, 0, SIZE["width"], GRID_ROWS))
        page.locator(".tile").first.click()
        page.wait_for_load_state("networkidle")
        shown = Image.open(io.BytesIO(page.screenshot()))
        browser.close()
    whole = Image.new("RGB", (SIZE["width"], GRID_ROWS + SIZE["height"]))
    whole.paste(grid, (0, 0))
    whole.paste(shown, (0, GRID_ROWS))
    small = whole.resize((round(SCALE * whole.width), round(SCALE * whole.height)), Image.Resampling.LANCZOS)
    small.quantize(COLOURS, kmeans=1, dither=Image.Dither.NONE).save(asked.output, optimize=True)


if __name__ == "__main__":
    main()
