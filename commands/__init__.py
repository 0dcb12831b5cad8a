"""What contributors and newcomers run in this repository: demo, changes, expected-files."""
