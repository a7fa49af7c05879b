"""`carls demo icons`: icons are found by words, learnt against all icons in a bank."""
