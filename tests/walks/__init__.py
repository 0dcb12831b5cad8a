"""Rendered projects at work: real verbs, real servers, real images."""
