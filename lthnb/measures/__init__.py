"""What is seen on finished runs."""
