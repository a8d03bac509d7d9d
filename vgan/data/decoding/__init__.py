"""From one video to its clips, in guarded processes."""
