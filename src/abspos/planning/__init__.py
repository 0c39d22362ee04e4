"""Paths, jobs, memory and time of a study, known before it runs."""
