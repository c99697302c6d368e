"""vsalign.hashes: names that are known, in 8 bytes each."""

from __future__ import annotations

from vsalign.hashes import HashedNames, hash64


def test_known_names_are_told_from_others() -> None:
    known = HashedNames.of(name for name in ["b.jpg", "a.jpg", "\udcff.jpg"])
    assert [name in known for name in ("a.jpg", "b.jpg", "\udcff.jpg", "c.jpg", "")] == [True, True, True, False, False]
    assert len(known) == 3
    assert "a" not in HashedNames.of([]) and len(HashedNames.of([])) == 0


def test_names_that_come_again_are_known() -> None:
    repeated = HashedNames.of(["a", "b", "a", "c", "b", "a"]).repeated()
    assert ["a" in repeated, "b" in repeated, "c" in repeated, "d" in repeated] == [True, True, False, False]
    assert "a" not in HashedNames.of([]).repeated() and "a" not in HashedNames.of(["a"]).repeated()


def test_a_hash_is_64_bits_and_the_same_everywhere() -> None:
    assert hash64("a.jpg") == hash64("a.jpg") != hash64("b.jpg")
    assert 0 < hash64("") < 1 << 64
