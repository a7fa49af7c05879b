"""`carls demo noisy-labels`: labels count for as much as checkpoints of the model believe them."""
