"""A dataclass as the command line, --help and YAML; every mistake is one sentence."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest

from vsalign.errors import ConfigurationError, MissingInputError
from vsalign.options import parse, to_dict


class Orientation(StrEnum):
    APPLY = "apply-first"
    IGNORE = "ignore"


@dataclass(frozen=True)
class Decode:
    """How an image is decoded."""

    max_pixels: int = 178_000_000
    """Largest picture, pixels."""

    orientation: Orientation = Orientation.APPLY
    """What is done with EXIF orientation."""


@dataclass(frozen=True)
class Options:
    """Internal words that nobody at the command line should read."""

    input: str
    """Folder, glob or archive."""

    batch_size: int = 8
    """Images at once."""

    learning_rate: float = 1e-3
    """Step size; 1e-3 is the paper's."""

    extractor: Literal["lite", "torchvision"] = "lite"
    """Which network finds the regions."""

    overwrite: bool = False
    """Replace the table that is there."""

    splits: tuple[str, ...] = ("train",)
    """Splits to use."""

    limit: int | None = None
    """Stop after this many."""

    shift: tuple[float, float] = (0.0, 0.0)
    """Offset x, y in px."""

    decode: Decode = field(default_factory=Decode)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigurationError(f"--batch-size is {self.batch_size}; give 1 or more.")
        if self.limit == 0:
            raise ValueError("--limit is 0; leave it out to use all")


def read(*argv: str) -> Options:
    return parse(Options, argv, prog="extract", description="Finds regions.")


def refusal(*argv: str) -> str:
    """The sentence that `argv` earns."""
    with pytest.raises(ConfigurationError) as caught:
        read(*argv)
    return str(caught.value)


def test_the_command_line_fills_the_dataclass() -> None:
    options = read(
        *[
            "--input=it's a$b`.tar",
            "--batch-size",
            "4",
            "--learning-rate",
            "1e-4",
            "--extractor",
            "torchvision",
        ],
        *["--overwrite", "--splits", "train", "restval", "--limit", "3", "--shift", "-1.5", "2"],
        *["--decode.max-pixels", "9", "--decode.orientation", "ignore"],
    )
    assert options == Options(
        "it's a$b`.tar",
        4,
        1e-4,
        "torchvision",
        True,
        ("train", "restval"),
        3,
        (-1.5, 2.0),
        Decode(9, Orientation.IGNORE),
    )


def test_only_what_must_be_given_must_be_given() -> None:
    assert read("--input", "x") == Options("x")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "extract needs --input; `extract --help` says what goes there."),
        (["--inptu", "x"], "extract has no option --inptu; did you mean --input?"),
        (
            ["--input", "x", "--batchsize", "3"],
            "extract has no option --batchsize; did you mean --batch-size?",
        ),
        (["--input", "x", "--qqq=3"], "extract has no option --qqq; `extract --help` lists the options."),
        (["--input", "x", "--batch-size", "ten"], "--batch-size: 'ten' is not a whole number"),
        (["--input", "x", "--learning-rate", "o.1"], "--learning-rate: 'o.1' is not a number"),
        (["--input", "x", "--extractor", "vgg"], "--extractor: 'vgg' is not one of 'lite', 'torchvision'"),
        (["--input"], "--input needs a value"),
        (["--input", "x", "--shift", "1"], "--shift needs 2 values"),
        (["--input", "x", "stray"], "'stray' belongs to no option"),
        (["--input", "x", "--batch-size", "-3"], "--batch-size is -3; give 1 or more."),
        (["--input", "x", "--limit", "0"], "--limit is 0; leave it out to use all"),
        (["--input", "x", "--config"], "--config needs the name of a YAML file."),
        (["--config", "a.yaml", "--config", "b.yaml"], "--config is given twice"),
    ],
)
def test_a_mistake_is_one_sentence(argv: list[str], sentence: str) -> None:
    said = refusal(*argv)
    assert said.startswith(sentence)
    assert "\n" not in said and "Options" not in said and "│" not in said


def test_help_is_grouped_and_says_defaults_and_no_internal_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        read("--help")
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "Finds regions." in text and "--config FILE.yaml" in text
    assert "--batch-size INT" in text and "Images at once. (default: 8)" in text
    assert "Folder, glob or archive. (required)" in text
    assert "decode options" in text and "--decode.max-pixels" in text and "apply-first" in text
    assert "Internal words" not in text and "batch_size" not in text and "APPLY" not in text


def test_unknown_options_pass_in_order_to_the_runner() -> None:
    options, rest = parse(
        Options,
        ["--runner=Flink_Runner", "--input", "x", "--direct_num_workers", "2", "--batch-size", "4"],
        prog="extract",
        description="",
        allow_unknown=True,
    )
    assert options == Options("x", 4)
    assert rest == ["--runner=Flink_Runner", "--direct_num_workers", "2"]


def test_a_misspelt_option_is_named_even_where_unknown_ones_pass() -> None:
    with pytest.raises(ConfigurationError, match="needs --input; was --inptu meant?"):
        parse(Options, ["--inptu", "x"], prog="extract", description="", allow_unknown=True)


YAML = """
input: "photos d'été/*.tar"   # quoted
batch_size: 4
learning-rate: 1e-4
overwrite: yes
splits: [no, "null", -x, ""]
limit: null
shift: [-1, 2]
decode:
  max_pixels: 1_000
"""


def test_yaml_gives_defaults_that_the_command_line_overrides(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(YAML.replace("-x, ", ""), encoding="utf-8")
    from_file = Options(
        "photos d'été/*.tar", 4, 1e-4, "lite", True, ("no", "null", ""), None, (-1.0, 2.0), Decode(1000)
    )
    assert read("--config", str(file)) == from_file
    overridden = read("--batch_size", "2", "--no-overwrite", f"--config={file}", "--splits", "dev")
    assert overridden == replace(from_file, batch_size=2, overwrite=False, splits=("dev",))


def test_yaml_is_read_from_any_fsspec_url() -> None:
    import fsspec

    with fsspec.open("memory://options/a.yaml", "w") as file:
        file.write("input: x\n")
    assert read("--config", "memory://options/a.yaml") == Options("x")


def test_what_the_manifest_holds_can_be_given_as_yaml_again(tmp_path: Path) -> None:
    options = Options("x", 3, 0.25, "lite", True, ("a", "b"), 5, (1.0, -2.0), Decode(7, Orientation.IGNORE))
    file = tmp_path / "options.json"
    file.write_text(json.dumps(to_dict(options)), encoding="utf-8")
    assert read("--config", str(file)) == options
    assert to_dict(options)["decode"] == {"max_pixels": 7, "orientation": "ignore"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("input: x\nbatchsize: 3\n", "line 2: there is no option batchsize; did you mean batch_size?"),
        ("input: x\ndecode:\n  max_pixel: 3\n", "line 3: there is no option decode.max_pixel; did you mean"),
        ("input: x\nqqq: 3\n", "line 2: there is no option qqq; the options are batch-size,"),
        ("input: x\nbatch_size: ten\n", "--batch-size: 'ten' is not a whole number"),
        ("input: x\noverwrite: maybe\n", "line 2: overwrite is a switch; write true or false."),
        ("input: x\ninput: y\n", "line 2: input stands there twice"),
        ("batch_size: {a: 3}\n", "line 1: batch-size is one option, no group; write its value."),
        ("decode: 3\n", "line 1 is no mapping"),
        ("input: [x\n", "is not YAML"),
        ("- input\n", "line 1 is no mapping"),
        ("batch_size: 3\n", "extract needs --input"),
    ],
)
def test_a_mistake_in_yaml_is_named_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(text, encoding="utf-8")
    said = refusal("--config", str(file))
    assert sentence in said and "\n" not in said
    assert str(file) in said or "needs --input" in said


def test_a_wrong_value_in_yaml_says_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("input: x\ndecode:\n  max_pixels: many\n", encoding="utf-8")
    assert refusal("--config", str(file)) == (f"--decode.max-pixels: 'many' is not a whole number ({file} line 3).")


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(f"input: !!python/object/apply:os.mkdir [{tmp_path / 'made'}]\n", encoding="utf-8")
    with pytest.raises(ConfigurationError):
        read("--config", str(file))
    assert not (tmp_path / "made").exists()


def test_a_missing_yaml_file_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="There is no options file"):
        read("--config", str(tmp_path / "none.yaml"))


@dataclass(frozen=True)
class Weights:
    weight_of: dict[str, float] = field(default_factory=dict)
    """tyro would make one option a key of the default."""


@dataclass(frozen=True)
class Perhaps:
    decode: Decode | None = None
    """tyro would make a subcommand of it."""


@pytest.mark.parametrize("cls", [Weights, Perhaps])
def test_a_dataclass_that_no_plain_command_line_can_fill_is_the_programs_fault(cls: type) -> None:
    with pytest.raises(TypeError, match="a group of options is a dataclass, given whole"):
        parse(cls, [], prog="extract", description="")


def test_without_tyro_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tyro", None)
    with pytest.raises(MissingInputError, match="pip install tyro"):
        read("--input", "x")
