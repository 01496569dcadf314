"""What an option takes, what it may take, and which options are worth a look."""
