"""What carries bytes or messages to one peer."""
