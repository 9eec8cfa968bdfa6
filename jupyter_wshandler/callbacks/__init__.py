"""Find the functions that a route names, and run them."""
