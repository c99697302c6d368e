"""The Apache Beam stages: each file reads its options, wires a graph out of vsalign parts, and starts it."""

from vsalign.allocator import keep_freed_memory

# Before anything else is imported: it holds for threads started from here on, and pyarrow and Beam start theirs early.
keep_freed_memory()
