"""Shares: what the owner of a bot gives away, one route for a time, and who came by it."""
