"""share: read-only objects that all processes see in one copy."""
