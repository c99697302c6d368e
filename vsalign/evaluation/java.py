"""The two Java programs of the reference scorers, out of pycocoevalcap: the PTB tokenizer and METEOR 1.5.

pycocoevalcap's own Python around them writes into its package folder, follows the machine's locale, and waits
for ever when a line is lost. These drivers speak the same protocol with one text a line, UTF-8, lines
counted, a time-out, and give the same figures (a test compares them).
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from vsalign.errors import ConfigurationError, VsalignError

PTB_JAR = Path("tokenizer", "stanford-corenlp-3.4.1.jar")
METEOR_JAR = Path("meteor", "meteor-1.5.jar")
UTF_8 = "-Dfile.encoding=UTF-8"
JAVA_START_SECONDS = 60.0  # `java -version` takes 0.1 s; a guess that a busy machine keeps
PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
"""pycocoevalcap's list; its brackets are upper-case, so lower-cased ones stay, as in published figures."""


def require_scorers() -> Path:
    """Give the folder of pycocoevalcap; raise ConfigurationError when it is not installed."""
    spec = importlib.util.find_spec("pycocoevalcap")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        if (folder / PTB_JAR).is_file() and (folder / METEOR_JAR).is_file():
            return folder
    raise ConfigurationError(
        "the reference scorers need the package pycocoevalcap with its jars, which is not installed here: "
        "install vsalign with the extra 'eval' (pip install 'vsalign[eval]')."
    )


def require_java() -> str:
    """Give the path of a Java that runs; raise ConfigurationError when it, or pycocoevalcap, is absent."""
    require_scorers()
    java = shutil.which("java")
    remedy = "install a Java runtime (8 or later), or use the tokenizer 'simple' and leave METEOR out"
    if java is None:
        raise ConfigurationError(f"METEOR and the PTB tokenizer need Java, and no 'java' is on PATH: {remedy}.")
    try:
        subprocess.run([java, "-version"], capture_output=True, check=True, timeout=JAVA_START_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(f"'{java} -version' failed ({error}): {remedy}.") from error
    return java


def clean(text: str) -> str:
    """A text as one line: blanks, control characters and ||| (METEOR's separator) become single spaces."""
    encodable = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join(re.sub(r"\|{3,}|[\x00-\x1f\x7f-\x9f]", " ", encodable).split())


def ptb_tokenize(texts: Sequence[str], timeout: float) -> list[str]:
    """Tokens of each text as the field's scorers see them: lower case, no punctuation, joined by spaces.

    timeout: seconds for the Java process. Raises ConfigurationError without Java, VsalignError when it fails
    or is slow.
    """
    java = require_java()
    lines = [clean(text) for text in texts]
    filled = [line for line in lines if line]  # empty lines need no tokenizer, and cannot be lost on the way
    if not filled:
        return [""] * len(lines)
    command = [java, UTF_8, "-cp", str(require_scorers() / PTB_JAR), "edu.stanford.nlp.process.PTBTokenizer"]
    text = "".join(f"{line}\n" for line in filled)
    try:
        done = subprocess.run(
            [*command, "-preserveLines", "-lowerCase"],
            input=text.encode(),
            capture_output=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise _too_slow("PTB tokenizer", timeout) from error
    tokenized = done.stdout.decode("utf-8", "replace").removesuffix("\n").split("\n")
    if done.returncode or len(tokenized) != len(filled):
        raise VsalignError(
            f"the PTB tokenizer ended with status {done.returncode}, {len(tokenized)} lines for "
            f"{len(filled)} texts ({_last_line(done.stderr)}); try the tokenizer 'simple'."
        )
    answers = iter(tokenized)
    return [_without_punctuation(next(answers)) if line else "" for line in lines]


def meteor(candidates: Sequence[str], references: Sequence[Sequence[str]], timeout: float) -> tuple[float, list[float]]:
    """METEOR 1.5 (English, normalised), 0 to 1: of the whole, and of each candidate against its references.

    Texts are tokenized ones. timeout: seconds for the Java process, which is killed then. Raises
    ConfigurationError without Java, VsalignError when it fails, is slow or answers anything but one number
    for each candidate.
    """
    jar = require_scorers() / METEOR_JAR
    command = [require_java(), "-Xmx2G", UTF_8, "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    questions = [
        " ||| ".join(["SCORE", *(clean(reference) for reference in of_one), clean(candidate)])
        for candidate, of_one in zip(candidates, references, strict=True)
    ]
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            command, cwd=jar.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        )
        expired = threading.Event()

        def stop() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(timeout, stop)
        timer.daemon = True
        timer.start()
        try:
            return _converse(process, questions)
        except (OSError, ValueError) as error:
            if expired.is_set():
                raise _too_slow("METEOR", timeout) from error
            stderr.seek(0)
            raise VsalignError(
                f"METEOR stopped or answered out of turn ({error}; {_last_line(stderr.read())}); it needs "
                "2 GB of memory: leave METEOR out of the metrics where there is less."
            ) from error
        finally:
            timer.cancel()
            process.kill()
            process.communicate()


def _converse(process: subprocess.Popen[bytes], questions: Sequence[str]) -> tuple[float, list[float]]:
    """Ask for the statistics of each pair, then for all scores; a line each way at a time cannot block."""
    assert process.stdin and process.stdout
    statistics = [_ask(process.stdin, process.stdout, question) for question in questions]
    first = _ask(process.stdin, process.stdout, " ||| ".join(["EVAL", *statistics]))
    each = [float(first), *(float(_answer(process.stdout)) for _ in questions[1:])]
    return float(_answer(process.stdout)), each


def _ask(stdin: IO[bytes], stdout: IO[bytes], line: str) -> str:
    """Write one line and give the line that answers it."""
    stdin.write(f"{line}\n".encode())
    stdin.flush()
    return _answer(stdout)


def _answer(stdout: IO[bytes]) -> str:
    """Give the next line; raise ValueError unless it holds numbers alone."""
    line = stdout.readline().decode("utf-8", "replace").strip()
    if not line:
        raise ValueError("an empty answer")
    for number in line.split():
        float(number)
    return line


def _without_punctuation(line: str) -> str:
    return " ".join(token for token in line.rstrip().split(" ") if token not in PUNCTUATION)


def _too_slow(program: str, timeout: float) -> VsalignError:
    return VsalignError(
        f"the {program} was stopped after {timeout:g} s, its time-out; give a longer one or fewer texts."
    )


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
