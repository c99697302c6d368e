"""Measures of what the models do: ranking, grounding of phrases, descriptions, words said of a region."""
