"""The ledger that every job writes, and the commands that read it: verify, explain, crate."""
