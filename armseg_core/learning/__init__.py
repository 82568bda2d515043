"""How a model meets data: batches, losses, training, evaluation, prediction, run and model folders."""
