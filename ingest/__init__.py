"""From documents to stored vectors."""
