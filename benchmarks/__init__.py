"""What voicepilot costs, each figure beside its floor or its rival in the same run. See docs/performance.md."""
