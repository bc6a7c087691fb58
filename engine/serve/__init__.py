"""The engine as a child process: JSON lines on stdin/stdout, jobs, progress, cancel, live preview."""
