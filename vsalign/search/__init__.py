"""Find photographs, and places in them, by a sentence: the paper's score as late interaction over an archive."""

from vsalign.search.hits import Hit, Place
from vsalign.search.index import Question, SearchIndex
from vsalign.search.wanted import Wanted

__all__ = ["Hit", "Place", "Question", "SearchIndex", "Wanted"]
