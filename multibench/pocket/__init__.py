"""The built-in family and tasks: a small world that works with no network at all."""
