"""`carls demo movielens`: the next film of each user, with users and films as rows of a bank."""
