"""Weights for vsalign under the terms of their training data (non-commercial research and education)."""
