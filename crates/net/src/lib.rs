//! The network shell: listener, connection loop, calls to peers.
