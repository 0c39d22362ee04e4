"""The report's front page, the results pages and the registry of models."""
