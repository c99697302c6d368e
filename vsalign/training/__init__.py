"""Training loops over torch.distributed: they run under Ray Train and without it."""
