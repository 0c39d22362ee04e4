"""The config of a study: its fields, checks and reference."""
