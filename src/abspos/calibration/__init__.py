"""Planted components: simulated studies, synthetic models and their truth."""
