"""What survives a reconnect."""
