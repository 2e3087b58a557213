"""Settings from defaults, file, environment and arguments, and the manager that holds those in force.

Importing this imports pydantic; `import voicepilot` does not. See docs/configuration.md.
"""

from voicepilot.config.changes import Change, SectionChanged
from voicepilot.config.manager import ConfigurationManager
from voicepilot.config.settings import ProviderSettings, Settings
from voicepilot.subscription import Subscription

__all__ = ["Change", "ConfigurationManager", "ProviderSettings", "SectionChanged", "Settings", "Subscription"]
