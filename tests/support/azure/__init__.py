"""Azure on loopback: its logins, Resource Manager, Azure ML, endpoints and registries, at their wire protocols."""
