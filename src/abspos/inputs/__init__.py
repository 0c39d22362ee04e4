"""Windows of text as token ids, and the corpora they are drawn from."""
