"""Hostile bytes for every dialect: seeds, mutations, and what must hold whatever comes."""
