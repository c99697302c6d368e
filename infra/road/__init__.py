"""The whole road, from pictures and captions to figures and a gallery, as the commands that a person would type."""
