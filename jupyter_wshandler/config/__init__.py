"""Turn YAML files and traits into checked route configurations."""
