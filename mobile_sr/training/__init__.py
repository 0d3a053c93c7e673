"""Training: the data set, the train loop, run folders, losses, optimizers, distribution; recipes/ holds the recipes."""
