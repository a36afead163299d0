"""For inference services: follow the live release, verify it, serve it."""
