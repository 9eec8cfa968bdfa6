"""Who is in a room, and what was said there."""
