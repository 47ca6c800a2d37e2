"""Light client code that users import: leases, and the loopback agent of `keylease run`."""
