"""The terminal user interface. What imports no Textual can be tested without it, and is most of it."""
