"""What a problem predicts: one module a kind of output, whatever the inputs are."""
