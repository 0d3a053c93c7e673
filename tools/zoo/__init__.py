"""Scripts that make the zoo, its cards and the results page; for maintainers. Run them from the repository root."""
