"""The apps that VCA is compared with."""
