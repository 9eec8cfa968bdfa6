"""Says what clients and bots send each other: AsyncAPI, TypeScript and JSON Schema."""
