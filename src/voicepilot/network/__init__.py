"""What everybody who talks to a provider needs: the way there, what goes wrong on it, and secrets that do not show."""
