"""What a notebook imports: bots that live in its kernel, and the magic for them."""
