"""Reports as text: JSON, SARIF, CSV, and the table for people."""
