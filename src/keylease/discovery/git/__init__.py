"""Git repositories: their history, what is staged, who wrote it. The git program reads them."""
