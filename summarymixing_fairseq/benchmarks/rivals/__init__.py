"""What the plugin is compared with: what its users would have without it."""
