"""For development only: the embedded Postgres, `flask up`, the demo data and the scripted model."""
