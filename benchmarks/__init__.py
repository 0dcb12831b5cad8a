"""How fast the template and the projects it makes are, against what people would take instead."""
