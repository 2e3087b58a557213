"""voicepilot keeps realtime voice sessions alive."""
