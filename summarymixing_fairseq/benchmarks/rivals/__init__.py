"""What the plugin is measured against, written as its users would otherwise have it."""
