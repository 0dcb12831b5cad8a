"""The rules of the template: what is rendered, file by file, and whole projects."""
