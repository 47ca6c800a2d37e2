"""The steps of the trace store's schema, in order. A step that was released is never changed."""
