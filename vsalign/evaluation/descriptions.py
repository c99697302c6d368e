"""Descriptions against reference sentences: BLEU-1..4, METEOR, ROUGE-L and CIDEr-D of pycocoevalcap.

Scores are per cent as in the paper's tables (paper.md section 8): BLEU, METEOR and ROUGE-L of 0 to 1, and
CIDEr-D of 0 to 10, each times 100. CIDEr-D takes its document frequencies from the references given, as the
reference scorer does; with a single picture it is therefore 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vsalign.errors import ConfigurationError, VsalignError
from vsalign.evaluation.java import clean, meteor, ptb_tokenize, require_java, require_scorers
from vsalign.text import tokenize

METRICS = ("BLEU", "METEOR", "ROUGE-L", "CIDEr-D")
TOKENIZERS = ("ptb", "simple")


@dataclass(frozen=True)
class Variety:
    """How varied captions are; one caption for a fifth of the pictures is a fault that no score shows."""

    captions: int
    distinct: int
    """Different captions, compared by their tokens."""
    empty: int
    vocabulary: int
    """Different words in all captions."""
    most_frequent: str
    most_frequent_share: float
    """Share, 0 to 1, of the captions that are the most frequent one."""


@dataclass(frozen=True)
class Descriptions:
    """Scores of descriptions, with what they were taken over."""

    scores: dict[str, float]
    """Per cent by name: BLEU-1 to BLEU-4, METEOR, ROUGE-L, CIDEr-D, as far as asked for."""
    scored: int
    """Pictures with a description (perhaps an empty one, which scores 0) and at least one reference."""
    without_references: tuple[str, ...]
    """Ids described, but without a reference that has words: not scored."""
    without_candidate: tuple[str, ...]
    """Ids that have references, but no description: not scored."""
    empty_references: int
    """References without a word, left out."""
    variety: Variety
    """Of all descriptions, scored or not."""
    tokenizer: str

    def lines(self) -> list[str]:
        """Coverage first, then the scores with their definition and the variety, one line of text each."""
        rows = [f"{self.scored} descriptions scored"]
        for problem, ids in (
            ("descriptions without references", self.without_references),
            ("references without a description", self.without_candidate),
        ):
            if ids:
                more = ", …" if len(ids) > 3 else ""
                rows.append(f"NOT SCORED: {len(ids)} {problem} ({', '.join(ids[:3])}{more})")
        if self.empty_references:
            rows.append(f"{self.empty_references} references without a word left out")
        ours = "our own tokens: not comparable with published figures"
        tokens = "PTB tokens" if self.tokenizer == "ptb" else ours
        rows.append("  ".join(f"{name} {score:.1f}" for name, score in self.scores.items()))
        rows.append(f"(reference scorers x 100, whole set; {tokens})")
        variety = self.variety
        rows.append(
            f"{variety.distinct} distinct of {variety.captions} captions, {variety.empty} empty, "
            f"{variety.vocabulary} words; most frequent {100 * variety.most_frequent_share:.1f} %: "
            f"{variety.most_frequent!r}"
        )
        return rows

    def __str__(self) -> str:
        return "\n".join(self.lines())


def evaluate_descriptions(
    candidates: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    metrics: Sequence[str] = METRICS,
    tokenizer: str = "ptb",
    timeout: float = 600.0,
) -> Descriptions:
    """Score one description a picture against the picture's references, with pycocoevalcap's scorers.

    candidates: image_id -> text, "" scores 0. references: image_id -> one or more texts. metrics: of METRICS.
    tokenizer: "ptb", as published figures have it (Java), or "simple", vsalign.text.tokenize (no Java, unless
    METEOR is asked for). timeout: seconds for each Java process. Raises ConfigurationError before any work
    when a package or Java is absent or an option unknown, VsalignError when nothing can be scored or a Java
    process fails or is slow.
    """
    _check_options(metrics, tokenizer, timeout)
    _check_texts(candidates, references)
    sentences = [*candidates.values(), *(text for texts in references.values() for text in texts)]
    tokens = iter(_tokenize(sentences, tokenizer, timeout))
    hypotheses = {image_id: next(tokens) for image_id in candidates}
    truths = {image_id: [next(tokens) for _ in texts] for image_id, texts in references.items()}
    empty_references = sum(not text for texts in truths.values() for text in texts)
    truths = {image_id: filled for image_id, texts in truths.items() if (filled := [*filter(None, texts)])}
    scored = [image_id for image_id in hypotheses if image_id in truths]
    if not scored:
        raise VsalignError(
            f"no description can be scored: none of {len(candidates)} described ids (the first: "
            f"{next(iter(candidates), '')!r}) is among the {len(truths)} with references (the first: "
            f"{next(iter(truths), '')!r}); give both the same image_id."
        )
    return Descriptions(
        scores=_score([hypotheses[i] for i in scored], [truths[i] for i in scored], metrics, timeout),
        scored=len(scored),
        without_references=tuple(sorted(hypotheses.keys() - truths.keys())),
        without_candidate=tuple(sorted(truths.keys() - hypotheses.keys())),
        empty_references=empty_references,
        variety=caption_variety(hypotheses.values()),
        tokenizer=tokenizer,
    )


def caption_variety(captions: Iterable[str]) -> Variety:
    """How varied captions (tokens joined by spaces) are; the first of equally frequent ones is named."""
    counts = Counter(captions)
    total = sum(counts.values())
    most_frequent, times = counts.most_common(1)[0] if counts else ("", 0)
    return Variety(
        captions=total,
        distinct=len(counts),
        empty=counts[""],
        vocabulary=len({word for caption in counts for word in caption.split()}),
        most_frequent=most_frequent,
        most_frequent_share=times / total if total else 0.0,
    )


def _check_options(metrics: Sequence[str], tokenizer: str, timeout: float) -> None:
    """Raise ConfigurationError on an unknown option or when a program that the options need is absent."""
    unknown = [metric for metric in metrics if metric not in METRICS]
    if unknown or not metrics:
        raise ConfigurationError(f"metrics {list(metrics)}: choose one or more of {', '.join(METRICS)}.")
    if tokenizer not in TOKENIZERS:
        raise ConfigurationError(f"tokenizer {tokenizer!r} is unknown; choose of {', '.join(TOKENIZERS)}.")
    if not timeout > 0:
        raise ConfigurationError(f"time-out {timeout} s: give the seconds that a Java process may take, above 0.")
    if tokenizer == "ptb" or "METEOR" in metrics:
        require_java()
    else:
        require_scorers()


def _check_texts(candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    """Raise VsalignError unless each candidate is a text and each id's references are a list of texts."""
    for image_id, text in candidates.items():
        if not isinstance(text, str):
            raise VsalignError(f"the description of {image_id!r} is {text!r}; give a text, empty if need be.")
    for image_id, texts in references.items():
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise VsalignError(f"the references of {image_id!r} are {texts!r}; give a list of texts.")


def _tokenize(texts: Sequence[str], tokenizer: str, timeout: float) -> list[str]:
    """Tokens of each text, joined by spaces."""
    if tokenizer == "ptb":
        return ptb_tokenize(texts, timeout)
    return [" ".join(tokenize(clean(text))) for text in texts]


def _score(hypotheses: list[str], truths: list[list[str]], metrics: Sequence[str], timeout: float) -> dict[str, float]:
    """Scores in per cent by name, in the order of METRICS, of tokenized texts."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    gts = dict(enumerate(truths))
    res = {number: [text] for number, text in enumerate(hypotheses)}
    scores: dict[str, float] = {}
    if "BLEU" in metrics:
        of_n, _ = Bleu(4).compute_score(gts, res, verbose=0)
        scores.update({f"BLEU-{n}": score for n, score in enumerate(of_n, start=1)})
    if "METEOR" in metrics:
        scores["METEOR"], _ = meteor(hypotheses, truths, timeout)
    if "ROUGE-L" in metrics:
        scores["ROUGE-L"], _ = Rouge().compute_score(gts, res)
    if "CIDEr-D" in metrics:
        scores["CIDEr-D"], _ = Cider().compute_score(gts, res)
    return {name: 100 * float(score) for name, score in scores.items()}
