"""The model in use is watched: its inputs, its answers, their quality, and its age.

Importing this loads nothing: a service and batch scoring use single modules of it, in small images.
"""
