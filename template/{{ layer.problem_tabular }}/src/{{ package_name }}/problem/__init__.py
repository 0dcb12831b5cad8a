"""Yours: the only files that know the problem. A template update never touches them."""
