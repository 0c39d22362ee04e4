"""Checkpoints: sources, revisions, loading, and what a family can do."""
