"""What dialects are made of: framings, streams that hold their end, the fold, kept text, prompts. Knows no API."""
