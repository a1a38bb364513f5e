"""The Celery tasks, the feeder, and the embedded engine that runs them on one machine."""
