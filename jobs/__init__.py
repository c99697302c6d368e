"""The Ray stages: each file reads its options, wires a graph out of vsalign parts, and starts it."""
