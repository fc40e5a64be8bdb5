"""Formats that are told apart but cannot be read, each with the way out."""
