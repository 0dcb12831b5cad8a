"""Model development: prepare, train, evaluate, register, and tune."""
