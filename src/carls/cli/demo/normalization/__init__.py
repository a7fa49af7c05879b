"""`carls demo dynamic-normalization`: layers normalised by clusters in the bank."""
