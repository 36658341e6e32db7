"""Tests of the room that reads the APIs of LLM servers."""
