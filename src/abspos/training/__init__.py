"""Training of a model of the study under one variant, step by step."""
