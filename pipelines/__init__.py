"""The Apache Beam stages: each file reads its options, wires a graph out of vsalign parts, and starts it."""

import logging

from vsalign.allocator import keep_freed_memory

# Before anything else is imported: it holds for threads started from here on, and pyarrow and Beam start theirs early.
keep_freed_memory()


def _warnings_only() -> None:
    """Give the root logger a handler of warnings, where it has none.

    Beam warns through `logging.warning` while it is imported (without its gcp extra, of apitools that it then does not
    use); that call would set up a handler of its own, which lets every worker's INFO lines through.
    """
    if not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setLevel(logging.WARNING)
        handler.addFilter(lambda record: "apitools not found" not in record.getMessage())
        logging.getLogger().addHandler(handler)


_warnings_only()
