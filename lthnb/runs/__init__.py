"""What stays on disk: records, tickets, checkpoints; one run, and many."""
