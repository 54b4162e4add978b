"""What is done: networks, masks, augmentation, the loop, iterative pruning. No files, no data sets."""
