"""What bounds how many connections are open, and what they send."""
