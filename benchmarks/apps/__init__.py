"""The apps that VCA is measured beside."""
