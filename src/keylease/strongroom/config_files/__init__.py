"""gateway.toml and keylease.toml: read strictly, every mistake with its line."""
