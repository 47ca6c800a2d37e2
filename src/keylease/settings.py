"""The only reader of configuration: flag > KEYLEASE_* > file > default."""
