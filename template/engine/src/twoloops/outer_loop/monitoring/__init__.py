"""The model in use is watched: its inputs, its answers, their quality, and its age."""
