"""Settings from defaults, file, environment and arguments, and the manager that holds those in force.

Importing this imports pydantic; `import voicepilot` does not.
"""

from voicepilot.config.manager import ConfigurationManager
from voicepilot.config.settings import ProviderSettings, Settings

__all__ = ["ConfigurationManager", "ProviderSettings", "Settings"]
