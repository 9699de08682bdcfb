"""Venues: a folder each, behind one protocol (shared.base), and known by name (registry)."""
