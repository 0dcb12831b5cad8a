"""Updates of projects: the template's newer version merged by git, and what moved rewritten in the owner's code."""
