"""Handlers: what the bank does for each class of request, a family of messages per file."""
