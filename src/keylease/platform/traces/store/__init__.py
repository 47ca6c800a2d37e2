"""The tables of the trace store: versions, reading, removal, export, back-up."""
