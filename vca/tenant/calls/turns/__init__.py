"""A call's conversation: its start, its turns, transfers and the analysis afterwards."""
