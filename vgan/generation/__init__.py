"""Writing generated clips into a folder: files, contact sheet, grid film and listing, all marked as synthetic."""
