"""Out of the tool and into others: a run as files that other programs read, with a model card."""
