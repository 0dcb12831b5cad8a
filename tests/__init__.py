"""Proof of both houses: the template's rules, and the projects that it renders."""
