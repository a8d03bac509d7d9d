"""Reading and writing video: the only room that starts ffmpeg."""
