"""Who may use a route, now and later."""
