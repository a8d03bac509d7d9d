"""Files as they lie in folders and buckets: listing, remembering, hashing, copying."""
