"""The proof of updates: no released version's project loses an edit on its way to the next."""
