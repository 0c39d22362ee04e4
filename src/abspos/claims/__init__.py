"""The paper's claims: estimands, verdicts, and how far they hang on a choice."""
