"""A project of one's own: its images looked at, its parameters chosen by what they are, its files written once."""
