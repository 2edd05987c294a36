"""Who may speak through a socket: slots in `public`, counted over all processes."""
