"""A backplane on Redis or Valkey: the only place that imports redis-py (the extra `redis`)."""
