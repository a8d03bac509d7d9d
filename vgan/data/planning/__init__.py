"""What an ingest has to do, before it does anything."""
