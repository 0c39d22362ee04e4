"""Forward passes: capture, interventions, certificates, and the store of one run."""
