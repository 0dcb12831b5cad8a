"""The fleet: for many repositories, what an update of their template would meet, and the branches that bring it."""
