"""abspos: where does absolute position come from in decoder-only transformers?"""
