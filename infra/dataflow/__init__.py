"""Feature extraction on Dataflow: what starts it, and its flex template."""
