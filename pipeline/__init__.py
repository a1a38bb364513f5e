"""The stages of a page, from a file to numbers in SQL: plain functions, no torch and no Celery."""
