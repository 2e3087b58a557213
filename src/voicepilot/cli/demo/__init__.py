"""`voicepilot demo`: a story of three voice sessions, told while it happens and checked when it is over."""
