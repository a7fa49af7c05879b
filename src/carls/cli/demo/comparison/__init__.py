"""What the demos with makers share: the same knowledge from a bank, from inside the trainer, or none."""
