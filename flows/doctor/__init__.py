"""What `vgan doctor` looks at, by subject; each check only asks, and says the remedy of what it finds."""
