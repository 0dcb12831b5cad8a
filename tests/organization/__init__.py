"""Templates of organizations: what is refused, what is built, and the whole way to a project and back."""
