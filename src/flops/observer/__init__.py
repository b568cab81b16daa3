"""The observer: makes a project's events readable for a person."""
