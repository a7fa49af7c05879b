"""`carls demo school`: 139 schools keep their pupils' data and learn from one another's models."""
