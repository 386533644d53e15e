"""This project beside what its users have today."""
