"""Training: the data set, the training loop, run folders, losses, optimizers, distributed training and recipes."""
