"""Small pictures, good and bad, and the stages as a person starts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipelines.stages import GOOD, Stages, picture


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of GOOD pictures in two folders, the BAD ones among them, and litter."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(GOOD):
        path = folder / "abcdefghij"[number % 10] / f"{number:03d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture(number))
    (folder / "c_cut.jpg").write_bytes(picture(100)[:-200])
    (folder / "h_empty.jpg").write_bytes(b"")
    (folder / "k_page.jpg").write_bytes(b"<!DOCTYPE html><html>404</html>")
    (folder / "p_cut.png").write_bytes(picture(101, "PNG")[:-100])
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return folder


@pytest.fixture(scope="session")
def stages() -> Stages:
    return Stages()


@pytest.fixture(scope="session")
def undisturbed(stages: Stages, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The regions table of `pictures`, made in this process."""
    from pipelines import extract_regions

    output = tmp_path_factory.mktemp("tables") / "undisturbed"
    assert extract_regions.main(stages.small(pictures, output)) == 0
    return output
