"""The project's own code: what stands in problem/ is called by the steps of dvc.yaml, by its names."""
