"""`carls demo digits` and `carls demo cora`: neighbours in a graph teach where labels are few."""
